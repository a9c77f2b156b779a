"""Damaged, foreign and newer checkpoints: no wrong numbers, no tracebacks."""

import hashlib
import json
import logging
import shutil

import jax
import numpy as np
import pytest

from dicm_jax import checkpoint, errors, seal
from dicm_jax.saved import Saved
from dicm_jax.sharding import mesh as mesh_lib
from tests import toy
from tests.checkpoint_test import files_of
from tests.faults import damage

OLDER, NEWEST = damage.OLDER, damage.NEWEST
STATE = damage.some_state()
CONFIG = {"seed": 0, "model.name": "dicm"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """A folder with two checkpoints; not to be changed."""
  folder = tmp_path_factory.mktemp("written") / "run"
  damage.write(folder, STATE)
  return folder


@pytest.fixture
def run(written, tmp_path):
  """A copy of it."""
  return shutil.copytree(written, tmp_path / "run")


def rewrite(run, change, *, sealed, step=NEWEST):
  """Changes a checkpoint's position, as its program would or not."""
  file = run / checkpoint.FOLDER / str(step) / "position" / "metadata"
  position = json.loads(file.read_text())
  change(position)
  if sealed:
    position["sha256"] = seal._digest(position)
  file.write_text(json.dumps(position))


def test_a_damaged_file_is_seen_or_does_no_harm(tmp_path):
  found = damage.run(tmp_path, STATE, flips=1)
  assert found["files"] > 10
  assert found["detected"] >= found["files"]


# Orbax leaves coroutines alone where reading a damaged file fails.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_any_damage_is_seen_or_does_no_harm(tmp_path):
  found = damage.run(tmp_path, toy.build().state, flips=20)
  assert found["detected"] >= 5 * found["files"]
  # Orbax keeps some arrays twice and reads one of them.
  assert found["harmless"] > 0


def test_state_of_another_step_is_seen(run):
  """Each file of it is sound, and so are all of orbax's own checks."""
  older, newest = (run / checkpoint.FOLDER / str(s) for s in (OLDER, NEWEST))
  shutil.rmtree(newest / "state")
  shutil.copytree(older / "state", newest / "state")
  with pytest.raises(seal.Damaged) as caught:
    Saved(run, NEWEST).state(STATE)
  assert "not as they were saved: bytes, dense.0, " in str(caught.value)
  assert damage.what_is_read(run, STATE) == "by_fingerprint"


def test_renamed_checkpoint_is_seen(run, caplog):
  folder = run / checkpoint.FOLDER
  (folder / str(NEWEST)).rename(folder / "9")
  (folder / str(OLDER)).rename(folder / str(NEWEST))
  with pytest.raises(errors.InputError, match="none of the checkpoints"):
    checkpoint.restore(run, STATE, {})
  assert f"checkpoint 9 of {run} cannot be read: it is of step 4" in caplog.text


@pytest.mark.parametrize(
  "change",
  [
    lambda p: p.update(samples=7),
    lambda p: p.update(format=2),
    lambda p: p["fingerprints"].update(ids="0" * 16),
    lambda p: p["fingerprints"].pop("ids"),
    lambda p: p.pop("format"),
    lambda p: p.pop("fingerprints"),
    lambda p: p.pop("sha256"),
  ],
)
def test_position_changed_by_hand_is_seen(run, change):
  rewrite(run, change, sealed=False)
  assert damage.what_is_read(run, STATE) == "otherwise"


def test_newer_version_is_named_and_nothing_older_is_read(run):
  def newer(position):
    del position["fingerprints"]
    position |= {"format": 2, "version": "9.9", "arrays": {}}

  rewrite(run, newer, sealed=True)
  before = files_of(run)
  with pytest.raises(errors.InputError) as caught:
    checkpoint.restore(run, STATE, {})
  assert str(caught.value) == (
    f"checkpoint {NEWEST} of {run} was written by dicm_jax 9.9 in format 2; "
    f"this is {seal.version()}, which reads formats up to 1. Use the newer "
    "version"
  )
  assert files_of(run) == before


def test_checkpoint_of_an_older_version_is_read_as_it_is(run, caplog):
  def older(position):
    for key in ("format", "version", "fingerprints", "sha256"):
      del position[key]

  rewrite(run, older, sealed=False)
  with caplog.at_level(logging.INFO, "dicm_jax"):
    assert damage.what_is_read(run, STATE) == "harmless"
  (line,) = (r.message for r in caplog.records if "dicm_jax" in r.name)
  assert line == f"checkpoint {NEWEST} has no fingerprints: taken as it is"


def test_checkpoint_of_another_config_is_refused_by_name(run):
  foreign = {"config": CONFIG | {"seed": 7}}
  rewrite(run, lambda p: p.update(foreign), sealed=True)
  with pytest.raises(errors.InputError) as caught:
    checkpoint.restore(run, STATE, {}, CONFIG)
  message = str(caught.value)
  assert message.startswith(f"--workdir: checkpoint {NEWEST} of {run} is of a ")
  assert message.splitlines()[1:] == ["  seed: 7 -> 0"]


def test_what_one_process_cannot_read_no_other_takes(run, monkeypatch):
  monkeypatch.setattr(mesh_lib, "largest", lambda sizes: {"failed": 1})
  with pytest.raises(
    seal.Damaged, match="another process cannot read its part"
  ):
    Saved(run, NEWEST).state(STATE)


def test_what_was_saved_on_one_mesh_is_known_on_another(tmp_path):
  rows = np.random.default_rng(0).standard_normal((256, 2, 3), np.float32)

  def on(worker, server):
    devices = jax.devices()[: worker * server]
    mesh = mesh_lib.make_mesh(worker, server, devices)
    return {
      "ids": mesh_lib.put(mesh, mesh_lib.BATCH, rows),
      "dense": mesh_lib.put(mesh, mesh_lib.REPLICATED, rows[0]),
    }

  for step, shape in enumerate([(1, 8), (2, 2), (1, 1)]):
    with checkpoint.manager(tmp_path, keep=9) as opened:
      checkpoint.save(opened, step, on(*shape), {})
    for other in ((2, 4), (2, 2), (1, 1)):
      found = Saved(tmp_path, step).state(on(*other))
      np.testing.assert_array_equal(found["ids"], rows)
  on_host = {"ids": rows, "dense": rows[0]}
  assert isinstance(Saved(tmp_path, 0).state(on_host)["ids"], np.ndarray)
  noted = {str(Saved(tmp_path, i).position().fingerprints) for i in range(3)}
  assert len(noted) == 1


def test_seal_is_of_all_that_lies_beside_it():
  """The same digest from nothing but the JSON text."""
  whole = seal.sealed(3, {"x": np.zeros(2, np.float32)}, {"inputs": {"b": "ä"}})
  assert set(whole) == {"inputs", "step", *seal._ADDED}
  text = json.dumps(
    {k: whole[k] for k in sorted(whole) if k != "sha256"}, sort_keys=True
  )
  assert whole["sha256"] == hashlib.sha256(text.encode()).hexdigest()
