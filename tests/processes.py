"""Commands as processes: started, watched, killed."""

from collections.abc import Callable, Sequence
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
TIMEOUT_S = 300


def train(workdir: pathlib.Path, devices: int, **config) -> list[str]:
  """The command that trains the quickstart, for `start`.

  Args:
    workdir: folder of the run.
    devices: simulated ones of each process.
    config: values by key, `train__steps` for `train.steps`.
  """
  return [
    "dicm_jax.main",
    f"--config={ROOT / 'configs/quickstart.py'}",
    f"--workdir={workdir}",
    f"--cpu_devices={devices}",
    *(f"--config.{k.replace('__', '.')}={v}" for k, v in config.items()),
  ]


def start(args: Sequence[str], cache, **environment) -> subprocess.Popen:
  """Starts a module with its arguments.

  Args:
    args: the module's name and its arguments.
    cache: folder where features are kept, and found.
    environment: further variables.
  """
  return subprocess.Popen(
    [sys.executable, "-m", *args],
    cwd=ROOT,
    env=os.environ | {"XDG_CACHE_HOME": str(cache)} | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def together(count: int) -> list[list[str]]:
  """Flags by which so many processes of this machine meet."""
  address = f"--coordinator=localhost:{_free_port()}"
  return [
    [address, f"--num_processes={count}", f"--process_id={me}"]
    for me in range(count)
  ]


def start_two(args: Sequence[str], cache) -> list[subprocess.Popen]:
  return [start([*args, *flags], cache) for flags in together(2)]


def _free_port() -> int:
  with socket.socket() as free:
    free.bind(("localhost", 0))
    return free.getsockname()[1]


def ends(
  processes: Sequence[subprocess.Popen], timeout_s: float = TIMEOUT_S
) -> list[tuple[int, str, str]]:
  """Waits; exit code, output and log of each."""
  try:
    texts = [p.communicate(timeout=timeout_s) for p in processes]
  finally:  # They wait for one another.
    for process in processes:
      process.kill()
  return [
    (p.returncode, *text) for p, text in zip(processes, texts, strict=True)
  ]


def finish(processes: Sequence[subprocess.Popen]) -> list[str]:
  """Waits for processes that must succeed; the output of each."""
  found = ends(processes)
  assert [code for code, _, _ in found] == [0] * len(processes), found
  return [stdout for _, stdout, _ in found]


def wait_for(
  processes: Sequence[subprocess.Popen], happened: Callable[[], bool]
) -> None:
  """Waits until something has happened, while all the processes live."""
  deadline = time.monotonic() + TIMEOUT_S
  while not happened():
    assert all(p.poll() is None for p in processes), ends(processes)
    assert time.monotonic() < deadline, "no progress"
    time.sleep(0.02)


def kill(processes: Sequence[subprocess.Popen]) -> None:
  for process in processes:
    process.send_signal(signal.SIGKILL)
  for process in processes:
    process.communicate()


def records(workdir: pathlib.Path) -> list[dict]:
  """The whole lines of a run's metrics.jsonl."""
  file = workdir / "metrics.jsonl"
  text = file.read_text() if file.exists() else ""
  return [json.loads(line) for line in text.split("\n")[:-1]]


def losses(workdir: pathlib.Path) -> list[float]:
  """The losses of a run that has logged each step once."""
  found = records(workdir)
  assert [r["step"] for r in found] == list(range(1, len(found) + 1))
  return [r["loss"] for r in found]


def checkpoints(workdir: pathlib.Path) -> list[int]:
  """Steps of the whole checkpoints."""
  folder = workdir / "checkpoints"
  names = [p.name for p in folder.iterdir()] if folder.exists() else []
  return sorted(int(name) for name in names if name.isdigit())
