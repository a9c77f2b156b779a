"""One run over four meshes learns what a run on one mesh does."""

import json

import numpy as np
import pytest

from dicm_jax import checkpoint
from dicm_jax.data import pipeline, sample
from tests import processes, slices_made

BATCH = 256
SEGMENT = 100
"""Steps on each mesh."""
MESHES = ((1, 8, 8), (2, 2, 4), (1, 1, 1), (2, 2, 2))
"""Workers, servers, and devices of each process; the last are of two."""
TOLERANCE = 1e-3
"""Of a loss, relative. Sums in another order move a state by some 1e-7, and 400
steps of training make more of it."""


def command(folder, worker, server, devices, steps):
  return processes.train(
    folder,
    devices,
    mesh__worker=worker,
    mesh__server=server,
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


def train_noting(note, args, flags, cache):
  made = ["tests.slices_made", str(note), *args[1:], *flags]
  return processes.start(made, cache)


@pytest.mark.slow
def test_run_over_four_meshes_learns_as_on_one(tmp_path):
  alone, moved = tmp_path / "alone", tmp_path / "moved"
  args = command(alone, 1, 1, 1, SEGMENT * len(MESHES))
  processes.finish([processes.start(args, tmp_path)])

  expected, before = marks(), None
  for number, mesh in enumerate(MESHES):
    count = 2 if number == len(MESHES) - 1 else 1
    args = command(moved, *mesh, SEGMENT * (number + 1))
    notes = [tmp_path / f"{number}_{me}.json" for me in range(count)]
    flags = processes.together(count) if count > 1 else [[]]
    ends = processes.ends(
      [
        train_noting(note, args, mine, tmp_path)
        for note, mine in zip(notes, flags, strict=True)
      ]
    )
    assert {code for code, _, _ in ends} == {0}, ends
    log = ends[0][2]
    if before:
      for name, old, new in zip(
        ("worker", "server"), before, mesh, strict=False
      ):
        line = f"changed since the last start: mesh.{name}: {old} -> {new}\n"
        assert (line in log) == (old != new)
    before = mesh
    # The samples of these steps, and no others of the run.
    mine = set(expected[SEGMENT * number : SEGMENT * (number + 1)])
    for note in notes:
      made = {mark for mark, _ in json.loads(note.read_text())}
      assert made & set(expected) == mine

  assert processes.checkpoints(moved) == [100, 200, 300, 400]
  for step in processes.checkpoints(moved):
    position = checkpoint.Saved(moved, step).position()
    assert position["samples"] == step * BATCH
  found, wanted = processes.losses(moved), processes.losses(alone)
  assert len(found) == len(wanted) == len(expected)
  off = np.abs(np.array(found) / wanted - 1)
  figures = [
    json.loads((run / "eval.json").read_text()) for run in (moved, alone)
  ]
  auc = {
    name: abs(figures[0][name] - figures[1][name]) for name in ("auc", "gauc")
  }
  print(f"losses off by {off.max():.1e} at most, figures by {auc}")
  assert off.max() < TOLERANCE
  assert max(auc.values()) < TOLERANCE
