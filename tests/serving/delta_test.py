"""A delta of a bundle holds what is new; the server takes it while it runs."""

import asyncio
import json
import shutil

import numpy as np
import pytest

from dicm_jax import delta_export, errors
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import delta, delta_folder
from dicm_jax.serving import server as server_lib
from dicm_jax.serving.limits import Limits
from tests import toy
from tests.serving import http

LIMITS = Limits(timeout_s=60.0, uploads=4)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
  """Two new pictures, one that is exchanged and one that is as it was."""
  folder = tmp_path_factory.mktemp("pictures")
  shown = toy.dataset().image_bytes
  # The keys of folders have no suffix; the toy's have.
  for key, row in {"new_1": 5, "new_2": 6, "3.png": 9, "4.png": 4}.items():
    (folder / f"{key}.png").write_bytes(shown[row])
  return folder


@pytest.fixture(scope="module")
def written(made, pictures, tmp_path_factory):
  """The folder of a delta of these pictures."""
  out = tmp_path_factory.mktemp("delta") / "d1"
  delta_export.export_delta(made.bundle.folder, out, pictures=pictures)
  return out


@pytest.fixture
def place(made, tmp_path):
  """A copy of the bundle, with a folder for its deltas."""
  folder = shutil.copytree(made.bundle.folder, tmp_path / "bundle")
  (folder / delta.FOLDER).mkdir()
  return folder


def put(place, folder, name="") -> None:
  shutil.copytree(folder, place / delta.FOLDER / (name or folder.name))


def followed(folder) -> delta_folder.Followed:
  bundle = bundle_lib.read(folder)
  return delta_folder.follow(bundle, [folder / delta.FOLDER])


def test_delta_says_what_is_added_and_changed(made, written):
  manifest = json.loads((written / bundle_lib.MANIFEST).read_text())
  assert manifest["counts"] == {"added": 2, "changed": 1, "removed": 0}
  assert manifest["bundle"] == made.bundle.digest
  assert manifest["since"] == delta.contents(made.bundle)


def test_applied_delta_is_what_the_pictures_are(made, place, written):
  put(place, written)
  found = followed(place)
  assert not found.refused
  bundle, before = found.bundle, made.bundle
  assert [bundle.image_of[f"new_{i}"] for i in (1, 2)] == [40, 41]
  assert bundle.image_of.items() > before.image_of.items()
  for key, row in {"new_1": 5, "new_2": 6, "3.png": 9}.items():
    # The encoder was given other pictures at a time.
    np.testing.assert_allclose(
      bundle.images[bundle.image_of[key]], before.images[row], rtol=0, atol=1e-5
    )
  same = np.arange(40) != 3
  np.testing.assert_array_equal(bundle.images[:40][same], before.images[same])


def test_deltas_stand_on_each_other_in_any_order(
  made, place, written, pictures, tmp_path
):
  put(place, written, "z")
  more = shutil.copytree(pictures, tmp_path / "more")
  (more / "new_3.png").write_bytes(toy.dataset().image_bytes[7])
  second = tmp_path / "second"
  about = delta_export.export_delta(place, second, pictures=more)
  assert about["counts"]["added"] == 1
  put(place, second, "a")
  found = followed(place)
  assert [folder[-1] for folder in found.taken] == ["z", "a"]
  assert delta.contents(found.bundle) == about["result"]
  again = delta_folder.follow(found.bundle, [place / delta.FOLDER])
  assert again.taken == [] and again.refused == {}


def test_removed_picture_leaves_a_row_that_nobody_can_name(made, tmp_path):
  width = made.bundle.images.shape[1]
  gone = delta.Changes(
    ("3.png",),
    ("removed",),
    np.zeros((1, width), np.float32),
    np.zeros((1, 32), np.uint8),
  )
  tables = delta.Tables(gone, {})
  (tmp_path / "gone").mkdir()
  delta.write(tmp_path / "gone", made.bundle, tables, {})
  found = delta_folder.follow(made.bundle, [tmp_path]).bundle
  assert "3.png" not in found.image_of
  assert found.image_of["4.png"] == 4
  assert found.fields.image_rows == 40


def test_nothing_new_is_told(made, pictures, tmp_path):
  old = tmp_path / "old"
  old.mkdir()
  shutil.copy(pictures / "4.png.png", old)
  with pytest.raises(errors.InputError, match="nothing is new: all that"):
    delta_export.export_delta(
      made.bundle.folder, tmp_path / "out", pictures=old
    )
  assert not (tmp_path / "out").exists()


def broken(folder, **values):
  path = folder / bundle_lib.MANIFEST
  path.write_text(json.dumps(json.loads(path.read_text()) | values))


def cut(folder):
  (folder / bundle_lib.IMAGES).write_bytes(b"cut")


@pytest.mark.parametrize(
  ("damage", "reason"),
  [
    (cut, r"images\.parquet: expected SHA-256"),
    (lambda f: broken(f, since="0" * 64), "since: the delta is for 0000"),
    (lambda f: broken(f, result="0" * 64), "result: the delta is for 0000"),
    (lambda f: broken(f, rows={}), "expected the manifest of a delta"),
    (lambda f: broken(f, kind="bundle"), "expected a delta, found kind"),
  ],
)
def test_wrong_delta_is_refused_and_the_tables_stay(
  made, place, written, damage, reason
):
  server = server_lib.Server(place, "auto", LIMITS)
  put(place, written)
  damage(place / delta.FOLDER / written.name)
  before = server.current
  answer = http.with_client(server, lambda client: client.post("/reload"))
  assert answer.status_code == 409
  with pytest.raises(AssertionError, match=reason):
    raise AssertionError(answer.json()["error"])
  assert server.current is before
  (refused,) = http.get(server, "/version").json()["refused"].values()
  assert refused == answer.json()["error"]


def test_delta_of_another_bundle_is_passed_over(made, place, written):
  server = server_lib.Server(place, "auto", LIMITS)
  put(place, written)
  broken(place / delta.FOLDER / written.name, bundle="0" * 64)
  answer = http.with_client(server, lambda client: client.post("/reload"))
  assert answer.json() == {"bundle": made.bundle.digest, "taken": False}


def test_uploads_stay_when_a_delta_is_taken(made, place, written):
  server = server_lib.Server(place, "auto", LIMITS)
  vector = np.arange(made.bundle.images.shape[1], dtype=np.float32)
  for key in ("mine", "new_1"):
    server.current.rows.keep(key, "digest", vector)
  put(place, written)
  assert asyncio.run(server.reload())
  now = server.current
  assert set(now.rows.kept) == {"mine"}  # The delta has the other.
  bundle = now.engine.bundle
  np.testing.assert_array_equal(bundle.images[bundle.image_of["mine"]], vector)
  assert bundle.image_of["new_1"] == 40


def test_requests_go_on_while_a_delta_is_taken(made, place, written):
  server = server_lib.Server(place, "auto", LIMITS)
  new = {"candidates": [{"image": "new_1"}, {"image": "8.png"}]}
  assert http.post(server, new).status_code == 422  # Not known yet.
  body = json.dumps(made.bundle.example()).encode()

  async def work(client):
    async with http.asked_meanwhile(client, body) as answers:
      await asyncio.sleep(0.05)
      put(place, written)
      taken = (await client.post("/reload")).json()["taken"]
      await asyncio.sleep(0.05)
    return taken, answers

  taken, answers = http.with_client(server, work)
  assert taken and {a.status_code for a in answers} == {200}
  assert http.post(server, new).status_code == 200
  version = http.get(server, "/version").json()
  assert len(version["deltas"]) == 1
  assert version["image_rows"] == 42


def test_watch_takes_a_delta(place, written, tmp_path):
  server = server_lib.Server(place, "auto", LIMITS, deltas=tmp_path / "more")

  async def work():
    watching = asyncio.create_task(server.watch(0.01))
    shutil.copytree(written, tmp_path / "more" / "d1")
    for _ in range(1000):
      if server.current.engine.bundle.deltas:
        break
      await asyncio.sleep(0.01)
    watching.cancel()

  asyncio.run(work())
  assert len(server.current.engine.bundle.deltas) == 1
