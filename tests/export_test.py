"""The commands: train, export, serve, ask; each as a user gives it."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from dicm_jax import checkpoint, errors, export, restore, workdir
from dicm_jax.serving import bundle as bundle_lib
from tests import toy
from tests.data import logs

ROOT = pathlib.Path(__file__).parents[1]


def command(module, cache, *args):
  return subprocess.run(
    [sys.executable, "-m", f"dicm_jax.{module}", *args],
    capture_output=True,
    text=True,
    check=False,
    cwd=ROOT,
    env=os.environ | {"XDG_CACHE_HOME": str(cache)},
    timeout=600,
  )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
  """The folder of a bundle, made by the commands."""
  at = tmp_path_factory.mktemp("export")
  data = logs.prepare(logs.job(at / "data", logs.rows()))
  for module, args in (
    (
      "main",
      [
        f"--config={ROOT / 'configs/quickstart.py'}",
        f"--workdir={at / 'run'}",
        f"--config.data.path={data}",
        "--config.train.steps=3",
        "--config.train.batch_size=64",
      ],
    ),
    ("export", [f"--workdir={at / 'run'}", f"--out={at / 'bundle'}"]),
  ):
    done = command(module, at, "--cpu_devices=2", *args)
    assert done.returncode == 0, done.stderr
  return at / "bundle"


@contextlib.contextmanager
def serving(folder, *options):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  process = subprocess.Popen(
    [
      sys.executable,
      "-m",
      "dicm_jax.serve",
      f"--export={folder}",
      f"--port={port}",
      *options,
    ],
    cwd=ROOT,
  )
  try:
    wait(f"http://127.0.0.1:{port}/health", process)
    yield f"http://127.0.0.1:{port}"
  finally:
    process.terminate()
    assert process.wait(30) in (0, -15)


def wait(url, process):
  end = time.monotonic() + 120
  while time.monotonic() < end and process.poll() is None:
    with contextlib.suppress(urllib.error.URLError):
      urllib.request.urlopen(url).close()
      return
    time.sleep(0.1)
  raise AssertionError("the server does not answer")


@pytest.mark.slow
def test_exported_run_is_served_by_its_own_example(bundle):
  manifest = json.loads((bundle / bundle_lib.MANIFEST).read_text())
  body = (bundle / bundle_lib.EXAMPLE).read_bytes()
  with serving(bundle) as url:
    request = urllib.request.Request(
      f"{url}/score", body, {"content-type": "application/json"}
    )
    answer = json.load(urllib.request.urlopen(request))
  assert len(answer["probabilities"]) == len(json.loads(body)["candidates"])
  assert all(0 < p < 1 for p in answer["probabilities"])
  # Two devices trained it, one scored it.
  assert manifest["scored"]["largest_difference"] < 1e-5
  values = {f["name"]: f["values"] for f in manifest["fields"]["ids"]}
  assert values["history_ad_id"] == "vocabulary"


@pytest.mark.slow
def test_wrong_bundle_ends_the_command_with_what_is_wrong(tmp_path):
  done = command("serve", tmp_path, f"--export={tmp_path}")
  assert done.returncode == 2
  assert "expected a folder made by dicm_jax.export" in done.stderr


def test_nothing_is_left_where_the_disk_is_full(tmp_path, monkeypatch):
  workdir.claim(tmp_path / "run", toy.values())
  (tmp_path / "run" / checkpoint.FOLDER).mkdir()
  monkeypatch.setattr(restore, "restore", lambda *_: None)
  monkeypatch.setattr(export, "_exported", lambda _: None)

  def full(folder, made, dtype):
    del made, dtype
    (folder / "half").write_text("of it")
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(export, "_write", full)
  with pytest.raises(errors.InputError, match=r"--out: .*No space left"):
    export.export_run(tmp_path / "run", tmp_path / "at" / "bundle")
  assert list((tmp_path / "at").iterdir()) == []


def test_folder_with_files_stays_as_it_is(tmp_path, monkeypatch):
  def work(*_):
    raise AssertionError("restored a run")

  monkeypatch.setattr(restore, "restore", work)
  workdir.claim(tmp_path / "run", toy.values())
  (tmp_path / "run" / checkpoint.FOLDER).mkdir()
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "mine").write_text("kept")
  with pytest.raises(errors.InputError, match="expected an empty folder"):
    export.export_run(tmp_path / "run", tmp_path / "full")
  assert (tmp_path / "full" / "mine").read_text() == "kept"
