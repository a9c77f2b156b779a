"""Broken and hostile files for everything that reads.

python -m tests.faults.fuzz --inputs=100000 [--seed=0] [--only=csv,json]

The inputs are shared out evenly. Each kind of reader runs in a process of its
own, which may have 3 GB of addresses more than it has at its start, so that a
bomb fails and the machine goes on. A line a kind tells inputs, accepted,
rejected, the slowest in ms and the process's memory, its growth in brackets;
the last line is JSON. Exit code 1 if a promise of `judge` was broken; the files
that did it are kept in --keep.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import resource
import subprocess
import sys
import time

from tests.faults.fuzz import judge, runs, targets

_ROOM = 3 << 30
"""Bytes of addresses that a process may still take."""
_HANG_S = 120
"""Seconds that a process may take, and one more for each input."""


def child(name: str, folder: pathlib.Path, count: int, seed: int, keep: str):
  """Runs one kind and prints what became of it."""
  target = targets.everything()[name]
  _limit()
  judge.fill(target, _made(folder / "first"))
  for file, data in target.files.items():  # What is loaded at the first use.
    with contextlib.suppress(judge.Violation):
      judge.judge(target, folder / "first", file, data)
  # From here on the peak counts; making the examples took more.
  judge.forget_peak()
  start = judge.peak()

  def kept(file: str, data: bytes) -> str:
    path = pathlib.Path(keep) / name.replace(" ", "-")
    path /= f"{len(list(path.glob('*')))}-{file.replace('/', '+')}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)

  tally = runs.run(target, _made(folder / "then"), count, seed, kept)
  memory = {"memory_mb": judge.peak() >> 20}
  memory["growth_mb"] = (judge.peak() - start) >> 20
  print(json.dumps(dataclasses.asdict(tally) | memory))


def _made(folder: pathlib.Path) -> pathlib.Path:
  folder.mkdir(parents=True)
  return folder


def _limit() -> None:
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
  most = pages * resource.getpagesize() + _ROOM
  resource.setrlimit(resource.RLIMIT_AS, (most, most))


def parent(names: list[str], inputs: int, seed: int, keep: str) -> int:
  """Runs all kinds, each in a process; returns the exit code."""
  results, start = {}, time.monotonic()
  for name in names:
    with runs.folder() as folder:
      results[name] = _process(name, folder, inputs // len(names), seed, keep)
    print(_line(name, results[name]), flush=True)
  broken = sum(len(r["broken"]) for r in results.values())
  total = {
    key: sum(r[key] for r in results.values())
    for key in ("inputs", "accepted", "rejected")
  }
  print(
    json.dumps(
      total
      | {
        "broken": broken,
        "slowest_ms": round(
          1e3 * max(r["slowest_s"] for r in results.values())
        ),
        "largest_growth_mb": max(r["growth_mb"] for r in results.values()),
        "seconds": round(time.monotonic() - start),
        "seed": seed,
      }
    )
  )
  return 1 if broken else 0


def _process(name, folder, count: int, seed: int, keep: str) -> dict:
  command = [sys.executable, "-m", "tests.faults.fuzz", "--child", name]
  command += [f"--inputs={count}", f"--seed={seed}", f"--keep={keep}"]
  running = subprocess.Popen(
    [*command, f"--folder={folder}"], stdout=subprocess.PIPE, text=True
  )
  try:
    out, _ = running.communicate(timeout=_HANG_S + count)
  except subprocess.TimeoutExpired:
    running.kill()
    out, _ = running.communicate()
  if running.returncode == 0:
    return json.loads(out.splitlines()[-1])
  there = pathlib.Path(keep) / f"ended-{name.replace(' ', '-')}"
  _copy(pathlib.Path(folder) / "then", there)
  what = f"the process ended with {running.returncode}"
  return {
    **dataclasses.asdict(runs.Tally(broken={what: str(there)})),
    "memory_mb": 0,
    "growth_mb": 0,
  }


def _copy(folder: pathlib.Path, there: pathlib.Path) -> None:
  for path in folder.rglob("*"):
    if path.is_file():
      to = there / path.relative_to(folder)
      to.parent.mkdir(parents=True, exist_ok=True)
      to.write_bytes(path.read_bytes())


def _line(name: str, found: dict) -> str:
  line = (
    f"{name:15} {found['inputs']:7} inputs {found['accepted']:6} accepted "
    f"{found['rejected']:6} rejected, slowest {1e3 * found['slowest_s']:4.0f} "
    f"ms, {found['memory_mb']} MB (+{found['growth_mb']})"
  )
  wrong = [
    f"  {file}:\n    " + what.replace("\n", "\n    ")
    for what, file in found["broken"].items()
  ]
  return "\n".join([line, *wrong])


def main() -> int:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--inputs", type=int, default=100_000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--only", default="", help="Kinds, between commas.")
  parser.add_argument("--keep", default="runs/fuzz")
  parser.add_argument("--child", help=argparse.SUPPRESS)
  parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.child:
    child(args.child, args.folder, args.inputs, args.seed, args.keep)
    return 0
  names = args.only.split(",") if args.only else list(targets.everything())
  return parent(names, args.inputs, args.seed, args.keep)


if __name__ == "__main__":
  sys.exit(main())
