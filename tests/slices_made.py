"""`python -m dicm_jax.main`, noting its batches, and which part it makes.

python -m tests.slices_made FILE --config=... --workdir=...
"""

import json
import pathlib
import runpy
import sys
import zlib

from jaxtyping import Int
import numpy as np

from dicm_jax.data import batch


def mark(samples: Int[np.ndarray, " B"]) -> int:
  """A number by which a batch is known: of its samples, in their order."""
  return zlib.crc32(samples.astype(np.int64).tobytes())


def main(file: str, *args: str) -> None:
  """Runs the command; leaves (mark, share) of its batches in a file of JSON."""
  build, made_so_far = batch.build, []

  def noting(log, samples, layout, **options):
    made = build(log, samples, layout, **options)
    made_so_far.append((mark(samples), made.label.size / len(samples)))
    return made

  batch.build = noting
  sys.argv = [sys.argv[0], *args]
  try:
    runpy.run_module("dicm_jax.main", run_name="__main__", alter_sys=True)
  finally:
    pathlib.Path(file).write_text(json.dumps(made_so_far))


if __name__ == "__main__":
  main(*sys.argv[1:])
