"""Train, export, index, measure, serve and ask: each as a user gives it."""

import json
import urllib.request

import pytest

from tests import export_test
from tests.data import logs

ROOT = export_test.ROOT


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  """Bundles of a rank model and of towers, and an index of the towers' ads."""
  at = tmp_path_factory.mktemp("funnel")
  data = logs.prepare(logs.job(at / "data", logs.rows()))
  for name, config in (("rank", "quickstart"), ("towers", "prerank")):
    run(
      at,
      "main",
      f"--config={ROOT / 'configs' / config}.py",
      f"--workdir={at / 'runs' / name}",
      f"--config.data.path={data}",
      "--config.train.steps=3",
      "--config.train.batch_size=64",
    )
    run(at, "export", f"--workdir={at / 'runs' / name}", f"--out={at / name}")
  run(at, "ad_index", f"--export={at / 'towers'}", f"--out={at / 'index'}")
  return at


def run(at, module, *args):
  done = export_test.command(module, at, *args)
  assert done.returncode == 0, done.stderr
  return done.stdout


@pytest.mark.slow
def test_funnel_is_measured(folders):
  out = run(
    folders,
    "funnel",
    f"--match={folders / 'index'}",
    f"--prerank={folders / 'towers'}",
    f"--rank={folders / 'rank'}",
    "--prerank_k=12",
    "--page_views=5",
  )
  found = json.loads(out[out.index("\n{") :])
  assert found["page_views"] == 5
  # Match by the towers that pre-rank, and few ads: all but the graph's misses.
  recall = found["recall"]["match, pre-rank"]["10"]["mean"]
  assert recall == found["recall"]["pre-rank alone"]["10"]["mean"]
  assert "true_probability" not in found


@pytest.mark.slow
def test_server_matches_and_ranks(folders):
  options = [
    f"--match={folders / 'index'}",
    f"--prerank={folders / 'towers'}",
    "--match_k=15",
    "--prerank_k=8",
  ]
  example = json.loads((folders / "rank" / "example_request.json").read_text())
  with export_test.serving(folders / "rank", *options) as url:
    found = ask(f"{url}/match", {"user": example["user"], "k": 9})
    ranked = ask(f"{url}/rank", {"user": example["user"], "n": 4})
    request = {"user": example["user"], "candidates": ranked["candidates"]}
    scored = ask(f"{url}/score", request)
  assert len(found["candidates"]) == 9
  assert found["scores"] == sorted(found["scores"], reverse=True)
  assert len(ranked["candidates"]) == 4
  assert scored["probabilities"] == pytest.approx(
    ranked["probabilities"], abs=1e-6
  )


def ask(url, body):
  request = urllib.request.Request(
    url, json.dumps(body).encode(), {"content-type": "application/json"}
  )
  return json.load(urllib.request.urlopen(request))


@pytest.mark.slow
def test_wrong_flags_end_the_command_with_what_is_wrong(folders):
  for module, args, reason in (
    ("serve", [f"--prerank={folders / 'towers'}"], "--prerank: expected --mat"),
    ("serve", [f"--match={folders / 'rank'}"], "found no index.json"),
    ("ad_index", ["--out=x"], "expected a bundle of model.name='prerank'"),
  ):
    done = export_test.command(
      module, folders, f"--export={folders / 'rank'}", *args
    )
    assert done.returncode == 2
    assert reason in done.stderr
