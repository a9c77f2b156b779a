"""The page: one file, light and dark, that needs nothing else."""

from collections.abc import Iterable, Sequence
import html
from typing import Any

from dicm_jax.reporting import svg
from dicm_jax.reporting.run_files import Run

METRICS = {
  "auc": "AUC",
  "gauc": "GAUC",
  "auc_cold": "AUC, cold ad images",
  "gauc_cold": "GAUC, cold ad images",
  "auc_within_ad": "AUC within ads",
  "logloss": "log loss",
  "calibration": "predicted / true clicks",
}
"""Of eval.json, in the order of the table, and what they are called."""
CUTS = {
  "ad_age_days": "Age of the ad's picture, in days since training first saw it",
  "ad_impressions": "Impressions of the ad's picture in training",
  "history_length": "Past pictures of the user",
  "picture": "Picture of the ad",
}
_COUNTS = ("impressions", "impressions_cold", "users", "step")
_MOST = 6
"""Runs that have a colour of their own."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2330; --soft: #566071;
  --line: #d5dbe5; --paper: #fff; --card: #f6f8fb; --warn: #8a3b00;
  --s0: #1f5fac; --s1: #0b7a63; --s2: #a8480f; --s3: #7b3fa0; --s4: #a01c4b;
  --s5: #5b6411; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf3; --soft: #a7b1c2;
  --line: #364152; --paper: #12171f; --card: #1b222d; --warn: #ffb27a;
  --s0: #7db4f5; --s1: #5fd1b5; --s2: #f0a56b; --s3: #cf9bf0; --s4: #f58fb0;
  --s5: #c9d266; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem;
  margin: 2rem 0 .5rem; } h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p { margin: .25rem 0; } .soft { color: var(--soft); }
.warn { color: var(--warn); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .75rem .3rem 0; text-align: right;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
small { color: var(--soft); display: block; font-weight: 400; }
.text td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; background: var(--card);
  border-radius: .5rem; }
.grid { stroke: var(--line); } .axis { fill: var(--soft); font-size: 12px; }
.curve { fill: none; stroke-width: 2; }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px;
  margin-right: .4rem; }
""" + "".join(
  f".curve.s{i} {{ stroke: var(--s{i}); }} "
  f".key.s{i} {{ background: var(--s{i}); }}\n"
  for i in range(_MOST)
)


def page(runs: Sequence[Run]) -> str:
  """The text of report.html.

  Args:
    runs: one, or some to compare, 6 at most.
  """
  title = " and ".join(run.name for run in runs)
  parts = [
    f"<h1>{_text(title)}</h1>",
    _legend(runs),
    *_notices(runs),
    _section("Figures of the test split", _figures(runs)),
    _section("Training", _training(runs)),
    *(
      _section(CUTS[cut], _slices(runs, cut)) for cut in CUTS if _has(runs, cut)
    ),
    *(
      _section(f"Time of a step, {run.name}", _profile(run))
      for run in runs
      if run.profile
    ),
    _section("Configuration", _config(runs)),
  ]
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f"<title>{_text(title)}: dicm_jax</title><style>{_STYLE}</style></head>"
    f"<body>\n{chr(10).join(parts)}\n</body></html>\n"
  )


def _text(value: Any) -> str:
  return html.escape(str(value))


def _section(title: str, body: str) -> str:
  return f"<section><h2>{_text(title)}</h2>\n{body}</section>"


def _legend(runs: Sequence[Run]) -> str:
  if len(runs) == 1:
    return ""
  keys = (
    f'<span class="key s{i}"></span>{_text(run.name)} &nbsp; '
    for i, run in enumerate(runs)
  )
  return f"<p>{''.join(keys)}</p>"


def _notices(runs: Sequence[Run]) -> Iterable[str]:
  """What every reader has to know of weights and data, once each."""
  for key in ("weights_notice", "data_notice"):
    for said in dict.fromkeys(run.figures.get(key) for run in runs):
      if said:
        kind = "warn" if "RANDOM" in said else "soft"
        yield f'<p class="{kind}">{_text(said)}</p>'
  for run in runs:
    if not run.figures:
      yield f'<p class="warn">{_text(run.name)} has no figures yet.</p>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind="") -> str:
  """Cells are HTML already."""
  top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
  body = "".join(
    f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows
  )
  return (
    f'<div class="wide" tabindex="0"><table class="{kind}"><thead>'
    f"<tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
  )


def _number(value: Any) -> str:
  if value is None:
    return "–"
  return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _figures(runs: Sequence[Run]) -> str:
  best = any(f"bayes_{key}" in run.figures for run in runs for key in METRICS)
  rows = []
  for key, name in METRICS.items():
    if any(key in run.figures for run in runs):
      row = [name, *(_with_interval(run.figures, key) for run in runs)]
      rows.append(row + [_best(runs, key)] * best)
  for key in _COUNTS:
    if any(key in run.figures for run in runs):
      counts = (_number(run.figures.get(key)) for run in runs)
      rows.append([key.replace("_", " "), *counts] + [""] * best)
  head = ["", *(_text(run.name) for run in runs), *["best possible"] * best]
  return _table(head, rows)


def _with_interval(figures: dict[str, Any], key: str) -> str:
  low, high = figures.get(f"{key}_low"), figures.get(f"{key}_high")
  shown = _number(figures.get(key))
  if low is None or high is None:
    return shown
  return f"{shown}<small>{low:.4f} to {high:.4f}</small>"


def _best(runs: Sequence[Run], key: str) -> str:
  found = {run.figures.get(f"bayes_{key}") for run in runs} - {None}
  return _number(found.pop()) if len(found) == 1 else ""


def _training(runs: Sequence[Run]) -> str:
  def chart(key: str, label: str) -> str:
    found = [
      svg.Curve(
        run.name,
        [line["step"] for line in run.curve if key in line],
        [line[key] for line in run.curve if key in line],
      )
      for run in runs
    ]
    return f"<h3>{label}</h3>" + svg.curves(found, "step", label)

  return chart("loss", "Loss") + chart("examples_per_s", "Samples a second")


def _has(runs: Sequence[Run], cut: str) -> bool:
  return any(run.slices.get(cut) for run in runs)


def _slices(runs: Sequence[Run], cut: str) -> str:
  of_runs = [{s["slice"]: s for s in run.slices.get(cut, [])} for run in runs]
  names = dict.fromkeys(name for found in of_runs for name in found)
  rows = []
  for name in names:
    here = [found.get(name, {}) for found in of_runs]
    row = [_text(name), _number(here[0].get("impressions"))]
    for one in here:
      row += [_number(one.get("auc")), _number(one.get("calibration"))]
    rows.append(row)
  head = ["", "impressions"]
  for run in runs:
    of = f"<small>{_text(run.name)}</small>" * (len(runs) > 1)
    head += [f"AUC{of}", f"predicted / true{of}"]
  return _table(head, rows)


def _profile(run: Run) -> str:
  ms, shares = run.profile["ms_per_step"], run.profile["shares"]
  rows = [
    [_text(part), f"{share:.1%}", f"{share * ms:.2f}"]
    for part, share in sorted(shares.items(), key=lambda one: -one[1])
  ]
  return _table(["", "share", "ms"], [*rows, ["all", "100.0%", f"{ms:.2f}"]])


def _config(runs: Sequence[Run]) -> str:
  """All keys; those in which the runs differ come first, and stand out."""
  keys = sorted({key for run in runs for key in run.config})
  values = {key: [run.config.get(key, "–") for run in runs] for key in keys}
  differ = [
    key for key in keys if any(v != values[key][0] for v in values[key])
  ]
  rows = [
    [f"<strong>{_text(key)}</strong>" if key in differ else _text(key)]
    + [_text(value) for value in values[key]]
    for key in [*differ, *(key for key in keys if key not in differ)]
  ]
  return _table(["key", *(_text(run.name) for run in runs)], rows, "text")
