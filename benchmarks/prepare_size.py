"""Preparing ten times the log: time and memory.

python -m benchmarks.prepare_size [--copies=10] [--suffix=csv]

The sample's log so many times over, each time with users of its own, and ten
times as often; each prepared by a process of its own whose largest resident
size is read.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

from benchmarks import report, sample_log

SAMPLES = 216_121
_CHILD = """
import pathlib, resource, sys
from benchmarks import sample_log
from dicm_jax import prepare
log, out = map(pathlib.Path, sys.argv[1:])
prepare.prepare(sample_log.options(log, out))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--copies", type=int, default=10)
  parser.add_argument("--suffix", default="parquet")
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    small, large = (
      _measure(pathlib.Path(folder) / str(n), n, args.suffix)
      for n in (args.copies, 10 * args.copies)
    )
  for found in (small, large):
    print(
      f"{found['samples']:12,} samples "
      f"{found['seconds']:8.1f} s {found['peak_mb']:8.0f} MB at most"
    )
  report.emit(
    value=large["seconds"] / small["seconds"],
    unit="time for 10 times the input / time for once",
    goal="<= 11",
    details={"suffix": args.suffix, "small": small, "large": large},
  )


def _measure(
  folder: pathlib.Path, copies: int, suffix: str
) -> dict[str, float]:
  log = sample_log.write(folder, copies=copies, suffix=suffix)
  size = log.stat().st_size
  command = [sys.executable, "-c", _CHILD, str(log), str(folder / "out")]
  start = time.perf_counter()
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  return {
    "samples": SAMPLES * copies,
    "bytes": size,
    "seconds": time.perf_counter() - start,
    "peak_mb": int(done.stdout.split()[-1]) / 1024,
  }


if __name__ == "__main__":
  main()
