"""The page about runs tells what lies in their folders."""

import json
import re

import pytest

from dicm_jax import errors, report
from dicm_jax.reporting import run_files, svg

FIGURES = {
  "auc": 0.71234,
  "auc_low": 0.7,
  "auc_high": 0.725,
  "bayes_auc": 0.8,
  "logloss": None,
  "impressions": 15814,
  "step": 30,
  "weights_notice": "RANDOM WEIGHTS <b>",
}
SLICES = {
  "ad_age_days": [
    {"slice": "new", "impressions": 3129, "auc": 0.66, "calibration": 0.9}
  ]
}


def run(folder, *, seed=0, figures=FIGURES):
  folder.mkdir()
  config = {"seed": seed, "train": {"steps": 30}}
  lines = [
    {"step": 10 * i, "loss": 1 / i, "examples_per_s": 9.0 * i}
    for i in (1, 2, 3)
  ]
  (folder / "config.json").write_text(json.dumps(config))
  (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
  if figures:
    (folder / "eval.json").write_text(json.dumps(figures))
    (folder / "slices.json").write_text(json.dumps(SLICES))
  return folder


def page_of(*folders):
  path = report.write(folders, None)
  assert path == str(folders[0] / "report.html")
  return (folders[0] / "report.html").read_text()


def cells(text, first):
  """Of the row that begins so."""
  (row,) = re.findall(rf"<tr><td>(?:<strong>)?{first}</.*?</tr>", text)
  return re.findall(r"<td>(.*?)</td>", row)[1:]


def test_page_of_a_run(tmp_path):
  text = page_of(run(tmp_path / "a<b"))
  assert "<title>a&lt;b: dicm_jax</title>" in text
  assert '<p class="warn">RANDOM WEIGHTS &lt;b&gt;</p>' in text
  assert cells(text, "AUC") == [
    "0.7123<small>0.7000 to 0.7250</small>",
    "0.8000",
  ]
  assert cells(text, "log loss") == ["–", ""]
  assert cells(text, "impressions") == ["15,814", ""]
  assert cells(text, "new") == ["3,129", "0.6600", "0.9000"]
  assert cells(text, "train.steps") == ["30"]
  assert text.count("<polyline") == 2
  # Nothing comes from elsewhere.
  assert not re.search(r"(src|href)=|url\(|@import|<script", text)


def test_runs_beside_each_other(tmp_path):
  other = run(tmp_path / "b", seed=7, figures=FIGURES | {"auc": 0.6})
  text = page_of(run(tmp_path / "a"), other)
  assert "<h1>a and b</h1>" in text
  assert [c[:6] for c in cells(text, "AUC")] == ["0.7123", "0.6000", "0.8000"]
  # What differs comes first and stands out.
  config = text.partition("Configuration")[2]
  assert cells(text, "seed") == ["0", "7"]
  assert "<strong>seed</strong>" in config
  assert config.index("seed") < config.index("train.steps")
  assert text.count("<polyline") == 4


def test_run_that_still_trains_has_a_page(tmp_path):
  folder = run(tmp_path / "a", figures=None)
  with (folder / "metrics.jsonl").open("a") as file:
    file.write('\n{"step": 4')  # Cut off.
  text = page_of(folder)
  assert "a has no figures yet" in text
  assert text.count("<polyline") == 2


def test_profile_tells_where_the_time_goes(tmp_path):
  folder = run(tmp_path / "a")
  profile = {"ms_per_step": 20.0, "shares": {"input": 0.1, "ctr_net": 0.9}}
  (folder / "profile.json").write_text(json.dumps(profile))
  text = page_of(folder)
  assert cells(text, "ctr_net") == ["90.0%", "18.00"]
  assert text.index("ctr_net") < text.index("<td>input</td>")


def test_wrong_folders_and_files_are_named(tmp_path):
  with pytest.raises(errors.InputError, match=r"found no config\.json in it"):
    report.write([tmp_path], None)
  folder = run(tmp_path / "a")
  with pytest.raises(errors.InputError, match="at most 5 runs, found 6"):
    report.write([folder] * 7, None)
  (folder / "metrics.jsonl").write_text("{}\n{}\n")
  with pytest.raises(
    errors.InputError, match=r"metrics\.jsonl, line 1: expected"
  ):
    report.write([folder], None)
  (folder / "metrics.jsonl").write_text("")
  (folder / "eval.json").write_text("[1]")
  with pytest.raises(
    errors.InputError, match=r"eval\.json: expected an object"
  ):
    report.write([folder], None)
  (folder / "eval.json").write_text("{")
  with pytest.raises(errors.InputError, match=r"eval\.json: cannot be read"):
    report.write([folder], None)


def test_runs_of_one_name_go_by_their_paths(tmp_path):
  (tmp_path / "x").mkdir()
  folders = [tmp_path / "a", tmp_path / "x" / "a"]
  assert run_files.names(folders) == [str(folder) for folder in folders]


def test_points_that_are_not_finite_are_left_out():
  curve = svg.Curve("a", [1, 2, 3], [1.0, float("nan"), 3.0])
  (points,) = re.findall(r'points="(.*?)"', svg.curves([curve], "step", "loss"))
  assert len(points.split()) == 2
  nothing = svg.curves([svg.Curve("a", [], [])], "step", "loss")
  assert nothing == "<p>No points yet.</p>"
