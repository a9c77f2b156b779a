"""A new bundle takes over while requests run; a bad one does not."""

import asyncio
import json
import os
import shutil

import pytest

from dicm_jax import errors
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import engine
from dicm_jax.serving.limits import Limits
from tests.serving import http


@pytest.fixture
def place(made, tmp_path):
  """A link to a bundle."""
  link = tmp_path / "current"
  link.symlink_to(made.bundle.folder)
  return link


def another(made, folder, **values):
  """A copy of the bundle whose manifest says something else."""
  shutil.copytree(made.bundle.folder, folder)
  path = folder / bundle_lib.MANIFEST
  manifest = json.loads(path.read_text())
  path.write_text(json.dumps(manifest | {"step": 4} | values))
  return folder


def put(link, folder) -> None:
  """Lets a link point elsewhere, at once."""
  fresh = link.with_name("fresh")
  fresh.symlink_to(folder)
  os.replace(fresh, link)


def test_requests_go_on_while_bundles_are_exchanged(made, place, tmp_path):
  server = http.serve(place)
  folders = [another(made, tmp_path / f"v{i}", step=i) for i in (4, 5)]
  body = json.dumps(made.bundle.example()).encode()

  async def work(client):
    async with http.asked_meanwhile(client, body) as answers:
      for folder in folders:
        put(place, folder)
        taken = (await client.post("/reload")).json()["taken"]
        assert taken
        await asyncio.sleep(0.1)
    return answers

  answers = http.with_client(server, work)
  assert {a.status_code for a in answers} == {200}
  assert len({a.json()["bundle"] for a in answers}) >= 2
  expected = answers[0].json()["probabilities"]
  assert all(a.json()["probabilities"] == expected for a in answers)
  assert http.get(server, "/version").json()["step"] == 5
  assert server.current.batcher.coming == 0


def damaged(made, folder):
  another(made, folder)
  (folder / bundle_lib.NET).write_bytes(b"cut")
  return folder


@pytest.mark.parametrize(
  ("make", "reason"),
  [
    (damaged, "net.jaxexport: expected SHA-256"),
    (lambda made, folder: another(made, folder, format=7), "found 7"),
    (lambda made, folder: folder, "found no manifest.json"),
  ],
)
def test_bad_bundle_is_refused_and_the_old_one_stays(
  made, place, tmp_path, make, reason
):
  server = http.serve(place)
  put(place, make(made, tmp_path / "bad"))

  async def work(client):
    return await client.post("/reload"), await client.get("/version")

  refused, version = http.with_client(server, work)
  assert refused.status_code == 409
  assert reason in refused.json()["error"]
  assert version.json()["bundle"] == made.bundle.digest
  assert http.post(server, made.bundle.example()).status_code == 200
  assert b'dicm_reloads_total{result="refused"} 1.0' in server.telemetry.text()


def test_same_bundle_is_not_taken_again(made, place):
  server = http.serve(place)
  before = server.current
  answer = http.with_client(server, lambda client: client.post("/reload"))
  assert answer.json() == {"bundle": made.bundle.digest, "taken": False}
  assert server.current is before


def test_watch_takes_what_is_put_in_place(made, place, tmp_path):
  server = http.serve(place)
  bad, good = damaged(made, tmp_path / "bad"), another(made, tmp_path / "good")

  async def work():
    watching = asyncio.create_task(server.watch(0.01))
    put(place, bad)
    await asyncio.sleep(0.1)
    assert server.current.engine.bundle.digest == made.bundle.digest
    put(place, good)
    for _ in range(1000):
      if server.current.engine.bundle.manifest["step"] == 4:
        break
      await asyncio.sleep(0.01)
    watching.cancel()

  asyncio.run(work())
  assert server.current.engine.bundle.manifest["step"] == 4


def test_wrong_engine_is_refused_by_name(made):
  with pytest.raises(errors.InputError, match="unknown --engine 'torch'"):
    engine.start(made.bundle.folder, "torch", Limits())


def test_bundle_whose_example_is_refused_is_not_served(made):
  with pytest.raises(errors.InputError, match=r"example_request\.json: cand"):
    engine.start(made.bundle.folder, "numpy", Limits(candidates=1))


def test_limit_that_lets_nothing_pass_is_refused():
  with pytest.raises(errors.InputError, match=r"limits\.candidates: expected"):
    Limits(candidates=0)
