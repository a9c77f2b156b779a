"""Preparing and loading ten times the log: time and memory.

python -m benchmarks.prepare_size [--copies=10] [--suffix=csv]

The sample's log so many times over, each time with users of its own, and ten
times as often; each prepared, and then loaded as training does, by a process of
its own whose resident size is read.
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

_LOAD = """
import pathlib, resource, sys
from dicm_jax.data import prepared
def resident():
  pages = int(open("/proc/self/statm").read().split()[1])
  return pages * resource.getpagesize()
before = resident()
data = prepared.load(pathlib.Path(sys.argv[1]))
samples = data.train.num_samples + data.test.num_samples
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print((resident() - before) / samples, (peak - before) / samples)
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
      f"{found['seconds']:8.1f} s {found['peak_mb']:8.0f} MB at most; loaded "
      f"{found['loaded_bytes']:.0f} bytes a sample, "
      f"{found['loading_bytes']:.0f} at most"
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
  peak_kb = _output(command).split()[-1]
  seconds = time.perf_counter() - start
  loaded = _output([sys.executable, "-c", _LOAD, str(folder / "out")])
  after, at_most = map(float, loaded.split())
  return {
    "samples": SAMPLES * copies,
    "bytes": size,
    "seconds": seconds,
    "peak_mb": int(peak_kb) / 1024,
    "loaded_bytes": after,
    "loading_bytes": at_most,
  }


def _output(command: list[str]) -> str:
  return subprocess.run(
    command, stdout=subprocess.PIPE, text=True, check=True
  ).stdout


if __name__ == "__main__":
  main()
