"""Exported vectors are all that ranking needs, and come whole or not at all."""

import dataclasses
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax import (
  checkpoint,
  config_tree,
  errors,
  evaluate,
  restore,
  towers,
  workdir,
)
from dicm_jax.data import click_log, files
from tests import toy

OPTIONS = {
  "model__name": "prerank",
  "model__aggregator": "sum",
  "model__activation": "dice",
}


def repeated():
  """Toy data whose 60 page views show six ads, in three places."""
  data = toy.dataset()
  log, n = data.test, data.test.num_samples
  ad, place = np.arange(n) % 6, np.arange(n) // 6 % 3
  lengths = (ad + 1) % 3
  offsets = np.concatenate([[0], np.cumsum(lengths)])
  test = dataclasses.replace(
    log,
    ad_ids={"ad_id": ad + 1, "position": place},
    ad_lists={
      "tags": click_log.Jagged(
        np.repeat(ad, lengths),
        offsets,
        np.repeat(ad / 8, lengths).astype(np.float32),
      )
    },
    ad_dense=(ad[:, None] / 4).astype(np.float32),
    ad_image=ad,
  )
  return dataclasses.replace(data, test=test, no_image=5)


@pytest.fixture
def run(tmp_path, monkeypatch):
  """Makes `restore` find a run that a few steps have moved."""

  def make(worker, server):
    config = toy.values(mesh__worker=worker, mesh__server=server, **OPTIONS)
    x = toy.build(worker, server, data=repeated(), **OPTIONS)
    state, _ = toy.run(x, 3)
    workdir.claim(tmp_path / "run", config)
    (tmp_path / "run" / checkpoint.FOLDER).mkdir()
    restored = restore.Restored(config, x, state)
    monkeypatch.setattr(restore, "restore", lambda *_: restored)
    return restored

  return make


def matrix(table: pa.Table, name: str = "vector"):
  return np.array(table[name].to_pylist())


def keys_of(ads: pa.Table) -> list[list[int]]:
  """[ad_id, position] of each row."""
  ids = [matrix(ads, f"ids.{name}") for name in ("ad_id", "position")]
  return np.stack(ids, axis=1).tolist()


@pytest.mark.parametrize(("worker", "server"), [(1, 1), (2, 4)])
def test_inner_products_are_the_models_logits(tmp_path, run, worker, server):
  config, x, state = run(worker, server)
  out = tmp_path / "new" / "vectors"
  about = towers.export_run(tmp_path / "run", out)
  ads = pq.read_table(out / towers.ADS)
  users = pq.read_table(out / towers.USERS)
  log = x.data.test
  assert (ads.num_rows, users.num_rows) == (18, log.num_groups)
  # Each sample finds its ad by what the file says of ads.
  known = keys_of(ads)
  wanted = np.stack([*log.ad_ids.values()], axis=1).tolist()
  shown = [known.index(key) for key in wanted]
  logits = (matrix(ads)[shown] * matrix(users)[log.group]).sum(axis=1)
  probability = evaluate.predict(x, state, log)
  assert np.std(probability) > 1e-3
  # Sums of ten float32 products.
  np.testing.assert_allclose(1 / (1 + np.exp(-logits)), probability, atol=1e-5)
  assert about == json.loads((out / "export.json").read_text())
  assert about["config_digest"] == config_tree.digest(config)
  assert (about["step"], about["width"]) == (3, 10)
  for name, found in about["files"].items():
    assert found["sha256"] == files.digest(out / name)
  assert sorted(os.listdir(tmp_path / "new")) == ["vectors"]


def test_files_say_what_the_vectors_are_of():
  data = repeated()
  log = data.test
  vectors = np.arange(2.0 * log.num_samples, dtype=np.float32).reshape(-1, 2)
  ads = towers.ad_table(data, log, vectors)
  np.testing.assert_array_equal(matrix(ads), vectors[:18])
  assert ads.schema.field("vector").type == pa.list_(pa.float32(), 2)
  assert ads["image"].to_pylist()[:6] == [f"{i}.png" for i in range(5)] + [None]
  assert ads["ids.tags"].to_pylist()[:4] == [[0], [1, 1], [], [3]]
  assert ads["weights.tags"].to_pylist()[:4] == [[0], [0.125] * 2, [], [0.375]]
  assert ads["dense"].to_pylist()[:3] == [[0], [0.25], [0.5]]
  users = towers.user_table(log, vectors)
  first = np.flatnonzero(np.diff(log.group, prepend=-1))
  np.testing.assert_array_equal(matrix(users), vectors[first])
  assert users["user"].to_pylist() == log.user.tolist()
  assert users["time"].to_pylist() == log.time.tolist()
  timeless = towers.user_table(dataclasses.replace(log, time=None), vectors)
  assert timeless["time"].to_pylist() == [None] * log.num_groups


def test_nothing_is_left_where_writing_fails(tmp_path, run, monkeypatch):
  run(1, 1)

  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(files, "write_json", full)
  with pytest.raises(errors.InputError, match=r"--out: .*No space left"):
    towers.export_run(tmp_path / "run", tmp_path / "at" / "vectors")
  assert list((tmp_path / "at").iterdir()) == []


def no_restoring(monkeypatch):
  def work(*_):
    raise AssertionError("restored a run")

  monkeypatch.setattr(restore, "restore", work)


def claim(path, **options):
  workdir.claim(path, toy.values(**options))
  (path / checkpoint.FOLDER).mkdir()


def test_folder_with_files_stays_as_it_is(tmp_path, monkeypatch):
  no_restoring(monkeypatch)
  claim(tmp_path / "run", **OPTIONS)
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "mine").write_text("kept")
  for taken in ("full", "full/mine"):
    with pytest.raises(errors.InputError, match="expected an empty folder"):
      towers.export_run(tmp_path / "run", tmp_path / taken)
  assert (tmp_path / "full" / "mine").read_text() == "kept"


def test_model_without_towers_is_refused(tmp_path, monkeypatch):
  no_restoring(monkeypatch)
  claim(tmp_path / "run")
  with pytest.raises(errors.InputError) as caught:
    towers.export_run(tmp_path / "run", tmp_path / "out")
  assert "expected model.name='prerank'" in str(caught.value)
  assert "found 'dicm'" in str(caught.value)
  assert not (tmp_path / "out").exists()
