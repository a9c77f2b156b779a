"""One run over four meshes goes on after each change as if there were none."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from dicm_jax import checkpoint
from dicm_jax.data import pipeline, sample
from tests import processes, slices_made

BATCH = 256
SEGMENT = 100
"""Steps on each mesh."""
MESHES = ((1, 8), (2, 2), (1, 1), (2, 2))
"""Workers and servers; the last are of two processes."""
SOON = 20
"""Steps after a change that are compared with those of a run without one."""
TOLERANCE = 1e-5
"""Of their losses, relative: sums in another order make some 2e-7."""


def command(folder, mesh, devices: int, steps: int) -> list[str]:
  return processes.train(
    folder,
    devices,
    mesh__worker=mesh[0],
    mesh__server=mesh[1],
    train__steps=steps,
    train__batch_size=BATCH,
    train__log_every_steps=1,
    checkpoint__every_steps=SEGMENT,
    checkpoint__keep=5,
  )


def marks() -> list[int]:
  """Of the batches of all steps, in order."""
  log = sample.generate(seed=0).dataset.train
  order = pipeline.shuffled(log, 0, BATCH)
  steps = range(SEGMENT * len(MESHES))
  return [slices_made.mark(order(step)) for step in steps]


def train_on(number: int, run: pathlib.Path, cache) -> tuple[str, list[set]]:
  """A hundred steps more; the log, and the marks of what each process made."""
  mesh, count = MESHES[number], 2 if number == len(MESHES) - 1 else 1
  devices = mesh[0] * mesh[1] // count
  name, *args = command(run, mesh, devices, SEGMENT * (number + 1))
  assert name == "dicm_jax.main"
  notes = [cache / f"{number}_{me}.json" for me in range(count)]
  together = processes.together(count) if count > 1 else [[]]
  ends = processes.ends(
    [
      processes.start(["tests.slices_made", str(note), *args, *flags], cache)
      for note, flags in zip(notes, together, strict=True)
    ]
  )
  assert {code for code, _, _ in ends} == {0}, ends
  made = [{mark for mark, _ in json.loads(note.read_text())} for note in notes]
  return ends[0][2], made


def losses_without(run: pathlib.Path, end: int, cache) -> list[float]:
  """Losses of a copy of a run that goes on on one device, up to a step."""
  stays = pathlib.Path(shutil.copytree(run, cache / f"stays_{end}"))
  processes.finish([processes.start(command(stays, (1, 1), 1, end), cache)])
  return processes.losses(stays)[-SOON:]


@pytest.mark.slow
def test_run_over_four_meshes_goes_on_as_if_on_one(tmp_path):
  run, samples, off = tmp_path / "run", marks(), []
  run.mkdir()
  for number in range(len(MESHES)):
    done = SEGMENT * number
    expected = losses_without(run, done + SOON, tmp_path)
    log, made = train_on(number, run, tmp_path)
    found = processes.losses(run)[done : done + SOON]
    off.append(np.abs(np.array(found) / expected - 1).max())
    # The samples of these steps, and no others of the run.
    mine = set(samples[done : done + SEGMENT])
    assert [each & set(samples) for each in made] == [mine] * len(made)
    before, now = MESHES[max(number - 1, 0)], MESHES[number]
    for name, old, new in zip(("worker", "server"), before, now, strict=True):
      line = f"changed since the last start: mesh.{name}: {old} -> {new}\n"
      assert (line in log) == (old != new)

  print("losses soon after the start on each mesh are off by", off)
  assert max(off) < TOLERANCE
  assert len(processes.losses(run)) == len(samples)
  assert processes.checkpoints(run) == [100, 200, 300, 400]
  for step in processes.checkpoints(run):
    position = checkpoint.Saved(run, step).position()
    assert position.values["samples"] == step * BATCH

  # Rounding grows within 400 steps, so the end is alike, not equal.
  alone = tmp_path / "alone"
  args = command(alone, (1, 1), 1, len(samples))
  processes.finish([processes.start(args, tmp_path)])
  apart = np.abs(np.array(processes.losses(run)) / processes.losses(alone) - 1)
  found, expected = (
    json.loads((folder / "eval.json").read_text()) for folder in (run, alone)
  )
  names = ("auc", "gauc", "logloss")
  figures = {name: abs(found[name] - expected[name]) for name in names}
  print(f"losses are off by {apart.max():.1e} at most, figures by {figures}")
  assert apart[:SOON].max() < TOLERANCE
  assert np.median(apart) < 0.01
  assert max(figures.values()) < 0.03
