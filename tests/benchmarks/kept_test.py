"""A benchmark that was stopped goes on with what its file lacks."""

import json

from benchmarks import kept


def fail():
  raise AssertionError("measured again")


def test_what_is_there_is_not_measured_again(tmp_path):
  path = tmp_path / "new" / "scores.json"
  first = kept.OfSeed(path, 0)
  first.fill("a", lambda: {"auc": 0.5})
  again = kept.OfSeed(path, 0)
  again.fill("a", fail)
  again.fill("b", lambda: {"auc": 0.6})
  found = json.loads(path.read_text())["0"]
  assert found["a"]["auc"] == 0.5
  assert found["b"]["auc"] == 0.6
  assert found["a"]["seconds"] >= 0


def test_seeds_do_not_mix(tmp_path):
  path = tmp_path / "scores.json"
  kept.OfSeed(path, 0).add({"a": {"auc": 0.5}})
  other = kept.OfSeed(path, 1)
  assert other.scores == {}
  other.add({"a": {"auc": 0.7}})
  assert {
    k: v["a"]["auc"] for k, v in json.loads(path.read_text()).items()
  } == {
    "0": 0.5,
    "1": 0.7,
  }
