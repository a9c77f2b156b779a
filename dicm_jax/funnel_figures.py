"""Figures of a funnel: what of the final ranking is left after each stage.

The final ranking is that of the rank model over all ads. Recall of its best k
among the first n of another ranking is the share of them found there: Manning,
Raghavan and Schütze, Introduction to Information Retrieval (2008), section 8.3.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxtyping import Float, Int
import numpy as np

from dicm_jax import bootstrap

TRUTH = "rank alone"
"""Name of the rank model's ranking of all ads."""
COSTS = ("match", "pre-rank", "rank", TRUTH)
"""What is timed."""
CUTS = (10, 20, 50, 100, 200, 400)
"""Numbers n of first ads."""
_ALL, _BEST = "all ads", "best possible"


class Rankings(NamedTuple):
  """Ads as the stages order them."""

  rows: Mapping[str, Sequence[Int[np.ndarray, " n"]]]
  """By what ordered them, for each page view: ads, best first."""
  seconds: Mapping[str, float]
  """By COSTS: of a page view, the median."""


def figures(
  rankings: Rankings,
  k: int,
  user: Int[np.ndarray, " P"],
  true: Float[np.ndarray, "P A"] | None = None,
) -> dict[str, Any]:
  """Recall and true probability of the stages, with 95 % intervals over users.

  Args:
    rankings: of P page views.
    k: ads that a user is shown.
    user: key of each page view's user.
    true: probability of a click for each page view and ad; None: unknown.

  Returns:
    k, page_views, users; `recall`: by ranking and n an object of mean, low and
    high; `ads_scored` and `ms` of a page view, by COSTS; and where `true` is
    known `true_probability`: of the first k, by ranking, with the difference
    from ranking everything as gain, gain_low and gain_high.
  """
  numbers = np.unique(user, return_inverse=True)[1].reshape(-1)
  values = {
    ("recall", name, n): found
    for name, rows in rankings.rows.items()
    if name != TRUTH
    for n, found in _recalls(rows, rankings.rows[TRUTH], k).items()
  }
  if true is not None:
    values |= _true_values(rankings, k, true)
  known = _with_intervals(values, numbers)
  out: dict[str, Any] = {
    "k": k,
    "page_views": len(user),
    "users": int(numbers.max()) + 1,
    "recall": {},
    "ads_scored": _scored(rankings),
    "ms": {name: 1e3 * of for name, of in rankings.seconds.items()},
  }
  for (kind, name, n), found in known.items():
    if kind == "recall":
      out["recall"].setdefault(name, {})[str(n)] = found
  if true is not None:
    out["true_probability"] = {
      name: known["true", name, k]
      | {f"gain{key}": of for key, of in _renamed(known["gain", name, k])}
      for kind, name, _ in known
      if kind == "true"
    }
  return out


def _renamed(found: Mapping[str, float | None]):
  """Items of an interval as suffixes: mean is the empty one."""
  return [("" if key == "mean" else f"_{key}", of) for key, of in found.items()]


def _recalls(rows, truth, k: int) -> dict[int, Float[np.ndarray, " P"]]:
  """For each n the share of each page view's best k among the first n."""
  longest = max(map(len, rows))
  pairs = list(zip(rows, truth, strict=True))
  return {
    n: np.array([np.isin(best[:k], found[:n]).mean() for found, best in pairs])
    for n in CUTS
    if k <= n <= longest
  }


def _true_values(rankings: Rankings, k: int, true):
  """Mean true probability of each page view's first k, and what is gained."""
  of = {
    name: np.array([true[i, found[:k]].mean() for i, found in enumerate(rows)])
    for name, rows in rankings.rows.items()
  }
  of[_ALL] = true.mean(axis=1)
  of[_BEST] = np.sort(true, axis=1)[:, -k:].mean(axis=1)
  out = {("true", name, k): found for name, found in of.items()}
  return out | {
    ("gain", name, k): found - of[TRUTH] for name, found in of.items()
  }


def _with_intervals(values: Mapping[tuple, np.ndarray], user):
  """Mean over page views and its interval over users, by the same keys."""
  arrays = enumerate(values.values())
  wanted = {str(i): bootstrap.mean(of, user) for i, of in arrays}
  drawn = bootstrap.resample(wanted, int(user.max()) + 1)
  out = {}
  for (key, of), replicates in zip(values.items(), drawn.values(), strict=True):
    low, high = bootstrap.interval(replicates)
    out[key] = {"mean": float(of.mean()), "low": low, "high": high}
  return out


def _scored(rankings: Rankings) -> dict[str, float]:
  """Ads of a page view that a stage gave a score, the mean."""
  of = {
    "pre-rank": rankings.rows["match"],
    "rank": rankings.rows["match, pre-rank"],
    TRUTH: rankings.rows[TRUTH],
  }
  return {name: float(np.mean([*map(len, rows)])) for name, rows in of.items()}


def text(found: Mapping[str, Any]) -> str:
  """The figures as tables."""
  k, cuts = found["k"], [n for n in CUTS if n >= found["k"]]
  lines = [
    f"{found['page_views']} page views of {found['users']} users",
    "",
    f"recall of the final {k} among the first n",
    f"{'n':24}" + "".join(f"{n:>8}" for n in cuts),
  ]
  for name, of in found["recall"].items():
    cells = [of.get(str(n)) for n in cuts]
    lines.append(
      f"{name:24}"
      + "".join(f"{c['mean']:8.3f}" if c else f"{'':8}" for c in cells)
    )
  lines += ["", f"{'a page view':24}{'ads scored':>12}{'ms':>8}"]
  for name, ms in found["ms"].items():
    scored = found["ads_scored"].get(name)
    ads = f"{scored:12.0f}" if scored else f"{'by graph':>12}"
    lines.append(f"{name:24}{ads}{ms:8.2f}")
  if "true_probability" in found:
    lines += [
      "",
      f"{f'true probability of {k}':24}{'mean':>8}{'95 %':>18}  to rank alone",
    ]
    for name, of in found["true_probability"].items():
      bounds = f"[{of['low']:.4f}, {of['high']:.4f}]"
      gain = f"{of['gain']:+.4f} [{of['gain_low']:+.4f}, "
      gain += f"{of['gain_high']:+.4f}]"
      lines.append(f"{name:24}{of['mean']:8.4f}{bounds:>18}  {gain}")
  return "\n".join([*lines, ""])
