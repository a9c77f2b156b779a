"""Claims of a paper or talk, judged over seeds by paired differences."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 8: 2.365, 10: 2.262}
"""Student's t, two-sided 95 %, by number of seeds."""
Results = dict[str, list[dict[str, float]]]
"""Variant -> scores by seed."""


class Claim(NamedTuple):
  text: str
  pairs: tuple[tuple[str, str], ...]
  """(better, worse) variants, each to be true of the metric."""
  metric: str = "gauc"


def by_variant(by_seed: Sequence[dict[str, dict[str, float]]]) -> Results:
  """Scores of each seed, by variant -> scores of each variant, by seed."""
  return {name: [scores[name] for scores in by_seed] for name in by_seed[0]}


def interval(values: Sequence[float]) -> tuple[float, float]:
  """Mean and half the width of its 95 % interval; one value has no bounds."""
  if len(values) == 1:
    return values[0], float("inf")
  spread = np.std(values, ddof=1) / np.sqrt(len(values))
  return float(np.mean(values)), float(T_95[len(values)] * spread)


def cell(values: Sequence[float]) -> str:
  """Mean and interval as text; of one seed the value, of none nothing."""
  if len(values) > 1:
    return "{:.4f} ± {:.4f}".format(*interval(values))
  return "".join(f"{value:.4f}" for value in values)


def gains(claim: Claim, results: Results) -> list[tuple[float, float]]:
  """Of each pair the metric gained, with half the width of its interval."""
  return [
    interval(
      [
        b[claim.metric] - w[claim.metric]
        for b, w in zip(results[better], results[worse], strict=True)
      ]
    )
    for better, worse in claim.pairs
  ]


def verdict(gained: Iterable[tuple[float, float]]) -> str:
  """Whether all gains are above 0: their intervals say yes, no or neither."""
  outcomes = [
    "yes" if mean > half else "no" if mean < -half else "undecided"
    for mean, half in gained
  ]
  return next((o for o in ("no", "undecided") if o in outcomes), "yes")


def judged(claim: Claim, results: Results, what: str = "GAUC") -> list[str]:
  """A claim's verdict and its differences as Markdown.

  Args:
    claim: with variants of `results`.
    results: scores, of all variants by the same seeds.
    what: the claim's metric as the tables call it.
  """
  found = gains(claim, results)
  lines = [f"\n**{claim.text}**: {verdict(found)}\n"]
  lines += [f"| | {what} gained | holds here |", "|---|---|---|"]
  for (better, worse), (mean, half) in zip(claim.pairs, found, strict=True):
    gained = f"{mean:+.4f}" + (f" ± {half:.4f}" if np.isfinite(half) else "")
    outcome = verdict([(mean, half)])
    lines.append(f"| {better} > {worse} | {gained} | {outcome} |")
  return lines
