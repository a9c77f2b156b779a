"""What do pictures cost a score server, and does it keep up?

python -m benchmarks.serve_load [--requests=10000] [--engine=auto]

Trains DICM and the ids-only model on the sample for a few steps, exports both,
and starts a server for each, a process of its own. A page view is a user of the
test split with 400 candidates, drawn from the split's ads. With one client the
two servers take turns, request by request: latency at the median and the 99th
percentile. Then 32 clients at once, a process for all, send the DICM server all
the requests, and meanwhile new bundles are put in its place again and again.
The value is the ratio of the medians of one client.
"""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

import httpx
import numpy as np

from benchmarks import report
from dicm_jax.data import sample
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import example

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = {"dicm": "quickstart", "ids": "baseline"}
CANDIDATES, CLIENTS = 400, 32
ROUNDS, WARM = 300, 30
"""Requests of the one client to each server, and those ahead of them."""
BODIES = 200
"""Distinct page views."""
RELOADS = 5
JSON = {"content-type": "application/json"}


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--requests", type=int, default=10_000)
  parser.add_argument("--engine", default="auto")
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as at, contextlib.ExitStack() as stack:
    folder = pathlib.Path(at)
    bodies, ports = {}, {}
    for name, config in CONFIGS.items():
      bundle = _bundle(folder / name, config)
      bodies[name] = _bodies(bundle)
      link = folder / name / "current"
      ports[name] = stack.enter_context(_server(link, args.engine))
    found = asyncio.run(_measure(folder / "dicm", bodies, ports, args.requests))
  ratios = np.array(found["one client"]["dicm"]) / found["one client"]["ids"]
  one = {name: _latency(times) for name, times in found["one client"].items()}
  for name, latency in one.items():
    print(report.row(f"{name}, one client, ms", list(latency.values())))
  many = found["many clients"]
  print(report.row("dicm, 32 clients, ms", list(_latency(many["s"]).values())))
  print(f"requests a second: {many['rate']:.1f}, errors: {many['errors']}")
  medians = one["dicm"]["p50_ms"] / one["ids"]["p50_ms"]
  low, high = np.percentile(ratios, (25, 75)).tolist()
  report.emit(
    value=medians,
    unit=f"median latency of DICM / of ids alone, {CANDIDATES} candidates",
    goal="<= 1.2",
    spread=(low, high),
    others=[
      report.Figure(
        "requests that failed, with reloads meanwhile", many["errors"], "<= 0"
      ),
      report.Figure(f"requests/s of {CLIENTS} clients", many["rate"]),
      report.Figure("DICM, one client, median ms", one["dicm"]["p50_ms"]),
    ],
    details={
      "one_client": one,
      "many_clients": _latency(many["s"]) | {"requests": len(many["s"])},
      "reloads": many["reloads"],
      "engine": args.engine,
      "behaviours": found["behaviours"],
    },
  )


def _bundle(folder: pathlib.Path, config: str) -> bundle_lib.Bundle:
  """A short run of a config, exported; its figures are of no interest."""
  for command in (
    (
      "dicm_jax.main",
      f"--config=configs/{config}.py",
      f"--workdir={folder / 'run'}",
      "--config.train.steps=20",
    ),
    (
      "dicm_jax.export",
      f"--workdir={folder / 'run'}",
      f"--out={folder / 'bundle'}",
    ),
  ):
    subprocess.run(
      [sys.executable, "-m", *command],
      cwd=ROOT,
      check=True,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
  (folder / "current").symlink_to(folder / "bundle")
  return bundle_lib.read(folder / "bundle")


def _bodies(bundle: bundle_lib.Bundle) -> list[bytes]:
  """Page views of the test split, each with ads drawn from all of its ads."""
  log = sample.generate(seed=0).dataset.test
  rng = np.random.default_rng(0)
  groups = rng.choice(log.num_groups, BODIES, replace=False)
  pages = [example.request_of(bundle, log, int(g)) for g in groups]
  ads = [ad for page in pages for ad in page["candidates"]]
  bodies = []
  for page in pages:
    drawn = rng.choice(len(ads), CANDIDATES, replace=len(ads) < CANDIDATES)
    asked = page | {"candidates": [ads[i] for i in drawn]}
    bodies.append(json.dumps(asked).encode())
  return bodies


@contextlib.contextmanager
def _server(link: pathlib.Path, engine: str):
  """A server in a process of its own; gives its port."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  command = [sys.executable, "-m", "dicm_jax.serve", f"--export={link}"]
  options = [f"--port={port}", f"--engine={engine}", "--watch_s=0"]
  process = subprocess.Popen([*command, *options], cwd=ROOT)
  try:
    _wait(port, process)
    yield port
  finally:
    process.terminate()
    process.wait()


def _wait(port: int, process: subprocess.Popen, limit_s: float = 120) -> None:
  end = time.monotonic() + limit_s
  while time.monotonic() < end and process.poll() is None:
    try:
      httpx.get(f"http://127.0.0.1:{port}/health").raise_for_status()
      return
    except httpx.HTTPError:
      time.sleep(0.1)
  raise RuntimeError("the server does not answer")


async def _measure(
  folder: pathlib.Path,
  bodies: dict[str, list[bytes]],
  ports: dict[str, int],
  requests: int,
) -> dict[str, Any]:
  async with contextlib.AsyncExitStack() as stack:
    limits = httpx.Limits(max_connections=CLIENTS)
    clients = {
      name: await stack.enter_async_context(
        httpx.AsyncClient(
          base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60
        )
      )
      for name, port in ports.items()
    }
    return {
      "behaviours": _mean_history(bodies["dicm"]),
      "one client": await _in_turns(clients, bodies),
      "many clients": await _at_once(
        folder, clients["dicm"], bodies["dicm"], requests
      ),
    }


def _mean_history(bodies: list[bytes]) -> float:
  pages = [json.loads(body) for body in bodies]
  return float(np.mean([len(page["user"]["behaviours"]) for page in pages]))


async def _ask(client: httpx.AsyncClient, body: bytes) -> tuple[float, int]:
  """Seconds and status of a request."""
  start = time.perf_counter()
  try:
    answer = await client.post("/score", content=body, headers=JSON)
    status = answer.status_code
  except httpx.HTTPError:
    status = 0
  return time.perf_counter() - start, status


async def _in_turns(clients, bodies) -> dict[str, list[float]]:
  """Seconds of each server's requests, one at a time."""
  times: dict[str, list[float]] = {name: [] for name in clients}
  for i in range(WARM + ROUNDS):
    for name, client in clients.items():
      seconds, status = await _ask(client, bodies[name][i % BODIES])
      if status != 200:
        raise RuntimeError(f"{name}: status {status}")
      if i >= WARM:
        times[name].append(seconds)
  return times


async def _at_once(folder, client, bodies, requests: int) -> dict[str, Any]:
  """Many clients, and new bundles meanwhile."""
  left = iter(range(requests))
  seconds: list[float] = []
  errors = 0

  async def work() -> None:
    nonlocal errors
    for i in left:
      took, status = await _ask(client, bodies[i % BODIES])
      seconds.append(took)
      errors += status != 200

  async def reload() -> int:
    taken = 0
    for number in range(RELOADS):
      await asyncio.sleep(1)
      fresh = _another(folder, number)
      os.replace(fresh, folder / "current")
      answer = await client.post("/reload")
      taken += answer.status_code == 200 and answer.json()["taken"]
    return taken

  start = time.perf_counter()
  reloading = asyncio.create_task(reload())
  await asyncio.gather(*(work() for _ in range(CLIENTS)))
  rate = requests / (time.perf_counter() - start)
  return {
    "s": seconds,
    "errors": errors,
    "rate": rate,
    "reloads": await reloading,
  }


def _another(folder: pathlib.Path, number: int) -> pathlib.Path:
  """A link to a copy of the bundle that says it is another."""
  copy = shutil.copytree(folder / "bundle", folder / f"bundle_{number}")
  path = copy / bundle_lib.MANIFEST
  manifest = json.loads(path.read_text()) | {"step": 21 + number}
  path.write_text(json.dumps(manifest))
  fresh = folder / "fresh"
  fresh.symlink_to(copy)
  return fresh


def _latency(seconds: list[float]) -> dict[str, float]:
  p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
  return {"p50_ms": float(p50), "p99_ms": float(p99)}


if __name__ == "__main__":
  main()
