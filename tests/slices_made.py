"""`python -m dicm_jax.main`, noting what part of each batch it makes.

python -m tests.slices_made FILE --config=... --workdir=...
"""

import json
import pathlib
import runpy
import sys

from dicm_jax.data import batch


def main(file: str, *args: str) -> None:
  """Runs the command; leaves the shares of its batches in a file of JSON."""
  build, shares = batch.build, []

  def noting(log, samples, layout, **options):
    made = build(log, samples, layout, **options)
    shares.append(made.label.size / len(samples))
    return made

  batch.build = noting
  sys.argv = [sys.argv[0], *args]
  try:
    runpy.run_module("dicm_jax.main", run_name="__main__", alter_sys=True)
  finally:
    pathlib.Path(file).write_text(json.dumps(shares))


if __name__ == "__main__":
  main(*sys.argv[1:])
