"""Deltas as the commands make them, of prepared data that have changed."""

import asyncio
import functools
import json
import shutil

import httpx
import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.delta_export import export_delta
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import delta, delta_folder
from dicm_jax.serving import server as server_lib
from dicm_jax.serving.limits import Limits
from tests.data import logs
from tests.export_test import ROOT, command, serving
from tests.serving import http

pytestmark = pytest.mark.slow
CLIENTS = 16


def prepared(folder, events, pictures=None):
  """Data of these events, in place of what was there."""
  shutil.rmtree(folder, ignore_errors=True)
  return logs.prepare(logs.job(folder, events), pictures)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A folder of data, a run on them and its bundle."""
  at = tmp_path_factory.mktemp("run")
  data = prepared(at / "data", logs.rows())
  done = command(
    "main",
    at,
    f"--config={ROOT / 'configs/quickstart.py'}",
    f"--workdir={at / 'run'}",
    f"--config.data.path={data}",
    "--config.train.steps=3",
    "--config.train.batch_size=64",
  )
  assert done.returncode == 0, done.stderr
  args = [f"--workdir={at / 'run'}", f"--out={at / 'bundle'}"]
  done = command("export", at, *args)
  assert done.returncode == 0, done.stderr
  return at


def test_nothing_is_new_in_the_same_data(run, tmp_path):
  with pytest.raises(errors.InputError, match="nothing is new"):
    export_delta(run / "bundle", tmp_path / "out", workdir=run / "run")


def test_other_parameters_want_a_full_export(run, tmp_path):
  bundle = shutil.copytree(run / "bundle", tmp_path / "bundle")
  path = bundle / bundle_lib.MANIFEST
  manifest = json.loads(path.read_text())
  path.write_text(json.dumps(manifest | {"parameters": "0"}))
  with pytest.raises(errors.InputError, match="Export the run as a whole"):
    export_delta(bundle, tmp_path / "out", workdir=run / "run")
  assert not (tmp_path / "out").exists()


def test_command_writes_what_has_changed_and_the_server_takes_it(run, tmp_path):
  before = bundle_lib.read(run / "bundle")
  events = [e for e in logs.rows() if e["picture"] != "p3"]
  more = [dict(e, ad_id="i20", picture="p20") for e in events[:5]]
  shown = {f"p{i}": logs.png(i) for i in range(20) if i not in (3, 7)}
  shown |= {"p5": logs.png(77), "p20": logs.png(4)}
  prepared(run / "data", events + more, logs.Pictures(shown))
  (tmp_path / "ads.csv").write_text("ad_id,image\ni20,p20\n")
  bundle = shutil.copytree(run / "bundle", tmp_path / "bundle")
  done = command(
    "export",
    tmp_path,
    f"--since={bundle}",
    f"--out={bundle / delta.FOLDER / 'd1'}",
    f"--workdir={run / 'run'}",
    f"--new_ids={tmp_path / 'ads.csv'}",
  )
  assert done.returncode == 0, done.stderr
  counts = json.loads(done.stdout)["counts"]
  assert counts == {
    "added": 1,
    "changed": counts["changed"],
    "removed": 1,
    "new ad_id": 1,
    "new history_ad_id": 1,
  }
  server = server_lib.Server(bundle, "auto", Limits(timeout_s=60.0))
  made = server.current.engine.bundle
  assert "p3" not in made.image_of
  assert made.vocabularies["ad_id"].row("i20") == before.fields.ids[0].rows or (
    made.vocabularies["ad_id"].row("i20") > 0
  )
  request = {"candidates": [{"ids": {"ad_id": "i20"}, "image": "p20"}]}
  answer = http.post(server, request).json()
  assert "candidates.ids.ad_id" not in answer["unknown"]
  assert "candidates.image" not in answer["unknown"]


def test_vectors_are_those_of_the_pictures(run, tmp_path):
  """Of a folder, by the bundle alone."""
  folder = tmp_path / "pictures"
  folder.mkdir()
  keys = logs.pictures([f"p{i}" for i in range(20) if i != 7]).pictures
  (folder / "new.png").write_bytes(keys["p4"])
  done = command(
    "export",
    tmp_path,
    f"--since={run / 'bundle'}",
    f"--out={tmp_path / 'deltas' / 'd'}",
    f"--pictures={folder}",
  )
  assert done.returncode == 0, done.stderr
  bundle = bundle_lib.read(run / "bundle")
  found = delta_folder.follow(bundle, [tmp_path / "deltas"]).bundle
  # The encoder was given other pictures at a time.
  np.testing.assert_allclose(
    found.images[found.image_of["new"]],
    bundle.images[bundle.image_of["p4"]],
    rtol=0,
    atol=1e-5,
  )


def test_wrong_command_ends_with_what_is_wrong(run, tmp_path):
  for args, reason in (
    (["--since=nowhere"], "expected a folder made by dicm_jax.export"),
    ([f"--since={run / 'bundle'}"], "nothing is new"),
    ([f"--since={run / 'bundle'}", "--new_ids=x.csv"], "cannot be read"),
    ([], "expected --workdir=RUN"),
  ):
    done = command("export", tmp_path, f"--out={tmp_path / 'out'}", *args)
    assert done.returncode == 2
    assert reason in done.stderr


def chain(bundle, folder, pictures):
  """Deltas of a picture each, made ahead; their folders in order."""
  made = []
  for number, (key, data) in enumerate(pictures.items()):
    shots = folder / f"shots{number}"
    shots.mkdir(parents=True)
    (shots / f"{key}.png").write_bytes(data)
    out = folder / "deltas" / f"d{number}"
    export_delta(bundle, out, pictures=shots, deltas=[folder / "deltas"])
    made.append(out)
  return made


async def load(url, body, taken):
  """Statuses of many clients' requests until the last delta is taken."""
  done, statuses = asyncio.Event(), []
  limits = httpx.Limits(max_connections=CLIENTS + 2)
  async with httpx.AsyncClient(
    base_url=url, limits=limits, timeout=60
  ) as client:

    async def ask():
      while not done.is_set():
        answer = await client.post("/score", content=body, headers=http.JSON)
        statuses.append(answer.status_code)

    asking = [asyncio.create_task(ask()) for _ in range(CLIENTS)]
    try:
      for number, put in enumerate(taken):
        put()
        while True:
          version = (await client.get("/version")).json()
          if len(version["deltas"]) > number:
            break
          await asyncio.sleep(0.05)
    finally:
      done.set()
      await asyncio.gather(*asking)
  return statuses, version


def test_no_request_fails_while_deltas_are_taken(run, tmp_path):
  bundle = shutil.copytree(run / "bundle", tmp_path / "bundle")
  pictures = {f"new{i}": logs.png(100 + i) for i in range(5)}
  deltas = chain(bundle, tmp_path / "made", pictures)
  (bundle / delta.FOLDER).mkdir()
  puts = [
    functools.partial(one.rename, bundle / delta.FOLDER / one.name)
    for one in deltas
  ]
  body = (bundle / bundle_lib.EXAMPLE).read_bytes()
  options = ["--watch_s=0.1", "--timeout_s=60", f"--max_waiting={CLIENTS}"]
  with serving(bundle, *options) as url:
    statuses, version = asyncio.run(load(url, body, puts))
  assert len(statuses) > 50
  assert set(statuses) == {200}
  rows = len(bundle_lib.read(bundle).image_keys)
  assert version["image_rows"] == rows + len(pictures)
  assert version["refused"] == {}
