"""One run, killed by SIGKILL again and again, ends as one left alone does.

python -m tests.faults.kill_anywhere --kills=50 [--seed=0]

Prints one line of JSON: how many kills hit which phase of the run, and what was
compared. Ends with an error if anything differs.
"""

import collections
from collections.abc import Sequence
import json
import pathlib
import subprocess
import tempfile
import time
from typing import Any, NamedTuple

from absl import app, flags
import absl.logging
import jax
import numpy as np
import orbax.checkpoint as ocp

from dicm_jax import fingerprint
from tests import processes

START, STEPS, SAVE, EVALUATION = "start-up", "steps", "save", "evaluation"
EVERY = 5
"""Steps between two checkpoints."""
SAVE_S = 0.1
"""A kill comes up to so long after a save has begun."""
SAME_BYTES = ("config.json", "eval.json", "slices.json", "run.lock")


class Alone(NamedTuple):
  """A run that was left alone, and how long its phases took."""

  workdir: pathlib.Path
  cache: pathlib.Path
  steps: int
  start_s: float
  step_s: float
  evaluation_s: float


class Begun(NamedTuple):
  """A process at work on a run, and what it found there."""

  process: subprocess.Popen
  workdir: pathlib.Path
  at_s: float
  """When it began, by the clock of files."""
  restores: int
  """Step that it restores."""
  metrics: int | None
  """Number of the file of metrics that it will write anew."""


def start(workdir: pathlib.Path, cache: pathlib.Path, steps: int) -> Begun:
  args = processes.train(
    workdir,
    2,
    train__steps=steps,
    train__batch_size=256,
    train__log_every_steps=1,
    checkpoint__every_steps=EVERY,
  )
  now, restores = time.time(), max(processes.checkpoints(workdir), default=0)
  metrics = _inode(workdir / "metrics.jsonl")
  return Begun(processes.start(args, cache), workdir, now, restores, metrics)


def train_alone(folder: pathlib.Path, steps: int) -> Alone:
  """Trains twice, as the first run alone must encode the pictures."""
  cache = folder / "cache"
  processes.finish([start(folder / "first", cache, 1).process])
  run = start(folder / "alone", cache, steps)
  times = {}
  for phases in ((STEPS, SAVE), (EVALUATION,)):
    while phase_of(run, steps) not in phases:
      assert run.process.poll() is None
      time.sleep(0.01)
    times[phases[0]] = time.time()
  processes.finish([run.process])
  return Alone(
    run.workdir,
    cache,
    steps,
    times[STEPS] - run.at_s,
    (times[EVALUATION] - times[STEPS]) / steps,
    time.time() - times[EVALUATION],
  )


def phase_of(run: Begun, steps: int) -> str:
  """What a process is at, or was at when it was killed, by its folder."""
  if run.metrics == _inode(run.workdir / "metrics.jsonl"):
    return START  # It is not so far as to have cut the metrics.
  if _saves(run):
    return SAVE
  if processes.checkpoints(run.workdir)[-1:] == [steps]:
    return EVALUATION
  return STEPS if _made(run) > 0 else START


def _made(run: Begun) -> int:
  """Steps that a process has made and logged, once it has cut the metrics."""
  return len(processes.records(run.workdir)) - run.restores


def _saves(run: Begun) -> set[str]:
  """Temporary folders of checkpoints that the process itself has made."""
  found = set()
  for path in (run.workdir / "checkpoints").glob("*tmp*"):
    try:
      if path.stat().st_ctime > run.at_s:
        found.add(path.name)
    except FileNotFoundError:  # It has its final name by now.
      pass
  return found


def _inode(file: pathlib.Path) -> int | None:
  return file.stat().st_ino if file.exists() else None


class Aim(NamedTuple):
  """When to kill: some seconds after something has happened so many times."""

  phase: str
  count: int
  delay_s: float


def draw(rng: np.random.Generator, alone: Alone, phases: Sequence[str]) -> Aim:
  """A phase, and a moment in it."""
  phase = phases[rng.integers(len(phases))]
  count = {STEPS: 2 * EVERY, SAVE: 3}.get(phase, 1)
  longest = {
    START: alone.start_s,
    STEPS: alone.step_s,
    SAVE: SAVE_S,
    EVALUATION: alone.evaluation_s,
  }[phase]
  return Aim(phase, int(rng.integers(1, count + 1)), longest * rng.random())


def kill_at(run: Begun, aim: Aim, steps: int) -> str | None:
  """Kills a process; the phase that it was in, None if it had ended."""
  saves: set[str] = set()
  while run.process.poll() is None and not _reached(run, aim, steps, saves):
    time.sleep(0.002)
  try:
    run.process.wait(aim.delay_s)
  except subprocess.TimeoutExpired:
    processes.kill([run.process])
    return phase_of(run, steps)
  processes.finish([run.process])
  return None


def _reached(run: Begun, aim: Aim, steps: int, saves: set[str]) -> bool:
  """Whether the moment has come from which the aim's delay counts."""
  if aim.phase == START:
    return True
  if run.metrics == _inode(run.workdir / "metrics.jsonl"):
    return False
  saves |= _saves(run)
  if aim.phase == EVALUATION or run.restores == steps:
    return phase_of(run, steps) == EVALUATION
  done = len(saves) if aim.phase == SAVE else _made(run)
  return done >= aim.count or run.restores + _made(run) >= steps


def kill_often(
  alone: Alone, workdir: pathlib.Path, kills: int, seed: int = 0
) -> dict[str, Any]:
  """Kills one run so often, then lets it end; what happened."""
  rng = np.random.default_rng(seed)
  hit = collections.Counter({p: 0 for p in (START, STEPS, SAVE, EVALUATION)})
  starts = 0
  while hit.total() < kills:
    run = start(workdir, alone.cache, alone.steps)
    starts += 1
    ended = run.restores == alone.steps
    if ended:
      phases: tuple[str, ...] = (START, EVALUATION)
    elif kills - hit.total() <= kills // 6:
      phases = (EVALUATION,)
    else:
      phases = (START, STEPS, STEPS, SAVE, SAVE)
    phase = kill_at(run, draw(rng, alone, phases), alone.steps)
    hit.update([phase] if phase else [])
  processes.finish([start(workdir, alone.cache, alone.steps).process])
  return {"kills": dict(hit), "starts": starts + 1}


def assert_same(workdir: pathlib.Path, alone: Alone) -> dict[str, int]:
  """Compares a run's folder with that of one left alone; what was compared.

  Raises:
    AssertionError: something differs, or is left over.
  """
  assert names(workdir) == names(alone.workdir)
  for name in SAME_BYTES:
    expected = (alone.workdir / name).read_bytes()
    assert (workdir / name).read_bytes() == expected, name
  expected = processes.losses(alone.workdir)
  assert len(expected) == alone.steps
  assert processes.losses(workdir) == expected
  arrays = assert_same_arrays(workdir, alone.workdir)
  return {
    "arrays_identical": len(arrays),
    "numbers_identical": sum(array.size for array in arrays.values()),
    "losses_identical": len(expected),
    "files_identical": len(SAME_BYTES),
  }


def assert_same_arrays(
  workdir: pathlib.Path, expected: pathlib.Path
) -> dict[str, np.ndarray]:
  """Compares the newest checkpoints of two runs bit by bit; their arrays."""
  found, arrays = last_state(workdir), last_state(expected)
  assert found.keys() == arrays.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(found[name], array, name)
  return arrays


def names(workdir: pathlib.Path) -> set[str]:
  """Of files and folders, but for those within a checkpoint's items."""
  every = {str(p.relative_to(workdir)) for p in workdir.rglob("*")}
  left = {name for name in every if "tmp" in name or name.endswith(".part")}
  assert not left
  return {name for name in every if name.count("/") < 3}


def last_state(workdir: pathlib.Path) -> dict[str, np.ndarray]:
  """All arrays of the newest checkpoint, by dotted name."""
  step = processes.checkpoints(workdir)[-1]
  folder = (workdir / f"checkpoints/{step}/state").absolute()
  with ocp.PyTreeCheckpointer() as reader:
    tree = reader.metadata(folder).item_metadata.tree
    as_numpy = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree
    )
    found = reader.restore(
      folder, args=ocp.args.PyTreeRestore(restore_args=as_numpy)
    )
  leaves = jax.tree_util.tree_leaves_with_path(found)
  return {fingerprint.name_of(path): np.asarray(leaf) for path, leaf in leaves}


def measure(
  folder: pathlib.Path, *, kills: int, steps: int, seed: int = 0
) -> dict[str, Any]:
  """Trains alone and with kills; compares; the figures.

  Args:
    folder: an empty one.
    kills: how many.
    steps: of the run; about 3 a kill are made for good.
    seed: of the moments.
  """
  begun = time.monotonic()
  alone = train_alone(folder, steps)
  happened = kill_often(alone, folder / "killed", kills, seed)
  same = assert_same(folder / "killed", alone)
  seconds = round(time.monotonic() - begun)
  return {"steps": steps, "seconds": seconds} | happened | same


def main(argv: list[str]) -> None:
  del argv
  values = flags.FLAGS
  with tempfile.TemporaryDirectory() as folder:
    found = measure(
      pathlib.Path(folder),
      kills=values.kills,
      steps=3 * values.kills,
      seed=values.seed,
    )
  print(json.dumps(found))


if __name__ == "__main__":
  jax.config.update("jax_platforms", "cpu")
  absl.logging.set_verbosity(absl.logging.ERROR)  # Orbax tells a lot.
  flags.DEFINE_integer("kills", 50, "How often the run is killed.")
  flags.DEFINE_integer("seed", 0, "Of the moments.")
  app.run(main)
