"""How long does a server take for a picture that it has never seen?

python -m benchmarks.new_picture [--rounds=50]

Trains the default model on the sample for a few steps and exports it. Then, in
one process: the time to bring the encoder to work (JAX is imported already, as
by the benchmark itself, so its import is timed in a process of its own), and of
photographs of the sample, one at a time as the server takes them, from bytes to
vector. The value is the median of these.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import report, serve_load
from dicm_jax.data import sample
from dicm_jax.serving import new_pictures

_IMPORT = """
import time
start = time.perf_counter()
import jax
print(time.perf_counter() - start)
"""


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--rounds", type=int, default=50)
  args = parser.parse_args()
  done = subprocess.run(
    [sys.executable, "-c", _IMPORT],
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  data = sample.generate(seed=0).dataset
  with tempfile.TemporaryDirectory() as at:
    bundle = serve_load._bundle(pathlib.Path(at), "quickstart")
    start = time.perf_counter()
    embed = new_pictures.NewPictures(bundle, 1)
    ready = time.perf_counter() - start
    times = []
    for row in range(args.rounds):
      name = data.image_names[row]
      start = time.perf_counter()
      embed([data.image_bytes[row]], [name])
      times.append(1e3 * (time.perf_counter() - start))
  low, middle, high = np.percentile(times, (25, 50, 75)).tolist()
  report.emit(
    value=middle,
    unit="ms from a picture's bytes to its vector",
    goal=None,
    spread=(low, high),
    others=[
      report.Figure("s to import JAX", float(done.stdout)),
      report.Figure("s to load and compile the encoder", ready),
    ],
    details={"p99_ms": float(np.percentile(times, 99))},
  )


if __name__ == "__main__":
  main()
