"""Runs the benchmarks of speed and size, and makes one table of them.

python -m benchmarks.all [--only=routing,distinct] [--missing]

Each runs by itself, one after another, in a process of its own, so leave the
machine alone meanwhile. What it says in its last line goes to
docs/benchmarks.json as soon as it is there, and into the table of
docs/benchmarks.md. A benchmark that fails is named there and does not stop the
rest. `--only` runs some of them, by module, and `--missing` those that have no
result, as after a stop; the others keep theirs.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

from benchmarks import results_table
from dicm_jax import command, errors

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"
LIMIT_S = 3600.0
"""After so long a benchmark hangs."""
BENCHMARKS = (
  "peers_step --rounds=12",
  "routing",
  "chunks",
  "strategies",
  "strategies --cpu_devices=8",
  "table_size --table=ids",
  "table_size --table=content",
  "distinct --mode=features",
  "distinct --mode=pixels",
  "tiers",
  "id_tier",
  "step_profile",
  "input",
  "unified_cost",
  "steady",
  "scaling",
  "weak_scaling",
  "table2",
  "serve_load",
)
"""Modules of benchmarks/ with their arguments."""

Entry = dict[str, Any]
"""A date, the seconds it took, and a `result` or a `failure`."""


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--only", default="", help="Modules, e.g. routing,tiers.")
  parser.add_argument(
    "--missing", action="store_true", help="Those without a result."
  )
  args = parser.parse_args()
  try:
    chosen = choose(args.only, read(RESULTS) if args.missing else {})
    failed = run(chosen, RESULTS, PAGE)
  except errors.InputError as e:
    command.fail(e)
  if failed:
    sys.exit(f"failed: {'; '.join(failed)}")


def choose(only: str, there: Mapping[str, Entry]) -> list[str]:
  """The benchmarks of the modules named that have no result yet.

  Args:
    only: modules, with commas between them; none: all.
    there: entries by benchmark.

  Raises:
    InputError: there is no such module among them.

  >>> choose("routing,strategies", {"routing": {"result": {}}})
  ['strategies', 'strategies --cpu_devices=8']
  """
  modules = {b.split()[0] for b in BENCHMARKS}
  names = set(only.split(",")) if only else modules
  for name in names - modules:
    raise errors.unknown_name("benchmark", name, modules)
  return [
    b
    for b in BENCHMARKS
    if b.split()[0] in names and "result" not in there.get(b, {})
  ]


def program_of(benchmark: str) -> list[str]:
  """The command that runs a benchmark.

  >>> program_of("tiers --rounds=3")[1:]
  ['-m', 'benchmarks.tiers', '--rounds=3']
  """
  return [sys.executable, "-m", *f"benchmarks.{benchmark}".split()]


def run(
  chosen: Sequence[str],
  results: pathlib.Path,
  page: pathlib.Path,
  program_of: Callable[[str], Sequence[str]] = program_of,
) -> list[str]:
  """Runs benchmarks and keeps what they say; returns those that failed.

  Args:
    chosen: of `BENCHMARKS`; the others keep the results that they have.
    results: file of JSON, by benchmark; made if missing.
    page: file with the place for the table.
    program_of: the command that runs a benchmark.

  Raises:
    InputError: the page has no place for the table.
  """
  results_table.replace(page.read_text(), "")  # Not after an hour.
  entries = read(results)
  for benchmark in chosen:
    print(f"{benchmark} ...", flush=True)
    entries[benchmark] = measure(program_of(benchmark))
    print("\n".join(results_table.rows(benchmark, entries)), flush=True)
    _write(results, json.dumps(entries, indent=1) + "\n")
  table = "\n".join(results_table.lines(BENCHMARKS, entries))
  _write(page, results_table.replace(page.read_text(), table))
  return [b for b in chosen if "failure" in entries[b]]


def measure(program: Sequence[str], limit_s: float = LIMIT_S) -> Entry:
  """Runs a program and takes what its last line says."""
  start = time.perf_counter()
  try:
    found = result_of(_run(program, limit_s))
  except subprocess.TimeoutExpired:
    found = {"failure": f"not done after {limit_s:.0f} s"}
  except OSError as e:
    found = {"failure": f"{program[0]} cannot be started: {e.strerror}"}
  return {
    "date": datetime.date.today().isoformat(),
    "seconds": round(time.perf_counter() - start, 1),
    **found,
  }


def _run(program: Sequence[str], limit_s: float) -> subprocess.CompletedProcess:
  """Runs it in a group of its own, so that none of its processes stays."""
  with subprocess.Popen(
    program,
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  ) as running:
    try:
      out, err = running.communicate(timeout=limit_s)
    except BaseException:
      os.killpg(running.pid, signal.SIGKILL)
      raise
  return subprocess.CompletedProcess(program, running.returncode, out, err)


def result_of(done: subprocess.CompletedProcess) -> Entry:
  """The last line's JSON as `result`, or else why there is none."""
  if done.returncode:
    print(done.stderr, file=sys.stderr)
    last = _last_line(done.stderr)
    return {"failure": f"exit code {done.returncode}: {last}"}
  last = _last_line(done.stdout)
  try:
    result = json.loads(last)
    results_table.check(result)
    return {"result": result | {"value": float(result["value"])}}
  except (ValueError, KeyError, TypeError):
    return {"failure": f"expected JSON with a value last, found: {last}"}


def _last_line(text: str) -> str:
  return (text.strip().splitlines() or [""])[-1]


def read(results: pathlib.Path) -> dict[str, Entry]:
  """Entries by benchmark; none where there is no file.

  Raises:
    InputError: the file holds something else.
  """
  if not results.exists():
    return {}
  try:
    return dict(json.loads(results.read_text()))
  except (ValueError, TypeError) as e:
    raise errors.InputError(
      f"{results}: expected JSON, entries by benchmark; found {e}"
    ) from e


def _write(path: pathlib.Path, text: str) -> None:
  """A kill leaves the file as it was before."""
  part = path.with_name(f"{path.name}.part")
  part.write_text(text)
  os.replace(part, path)


if __name__ == "__main__":
  main()
