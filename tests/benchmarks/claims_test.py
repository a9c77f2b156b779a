"""Claims are judged by paired differences over seeds."""

import numpy as np
import pytest

from benchmarks import claims

CLAIM = claims.Claim("a beats b", (("a", "b"),))


def results(**gauc) -> claims.Results:
  return {name: [{"gauc": v} for v in values] for name, values in gauc.items()}


def test_interval_is_student_s():
  # Deviation 2 over 4 values, t of 3 degrees of freedom: scipy's t.ppf(.975).
  mean, half = claims.interval([1.0, 1.0, 5.0, 5.0])
  assert mean == 3.0
  assert half == pytest.approx(3.1824 * (4 / 3**0.5) / 2, rel=2e-4)


@pytest.mark.parametrize(
  ("a", "b", "verdict"),
  [
    # The worlds differ by far more than the variants do.
    ([0.60, 0.70, 0.80], [0.59, 0.691, 0.789], "yes"),
    ([0.59, 0.691, 0.789], [0.60, 0.70, 0.80], "no"),
    ([0.60, 0.70, 0.80], [0.59, 0.72, 0.79], "undecided"),
    ([0.60], [0.59], "undecided"),
  ],
)
def test_differences_are_paired_by_seed(a, b, verdict):
  lines = claims.judged(CLAIM, results(a=a, b=b))
  assert lines[0] == f"\n**a beats b**: {verdict}\n"
  assert lines[-1].startswith("| a > b | ")
  assert lines[-1].endswith(f"| {verdict} |")


def test_claim_of_several_pairs_holds_when_all_do():
  up, down, wide = (0.1, 0.01), (-0.1, 0.01), (0.1, 0.2)
  assert claims.verdict([up, up]) == "yes"
  assert claims.verdict([up, wide]) == "undecided"
  assert claims.verdict([up, wide, down]) == "no"


def test_claim_is_judged_by_its_own_metric():
  found = {
    name: [{"gauc": 0.5, "zeros": zeros}] * 2
    for name, zeros in (("a", 0.3), ("b", 0.2))
  }
  (mean, half), *_ = claims.gains(CLAIM._replace(metric="zeros"), found)
  assert mean == pytest.approx(0.1)
  assert half == 0


def test_cell_holds_what_is_known():
  assert claims.cell([]) == ""
  assert claims.cell([0.5]) == "0.5000"
  assert claims.cell([0.5, 0.5]) == "0.5000 ± 0.0000"


def test_scores_go_by_variant():
  by_seed = [{"a": {"auc": 0.1}}, {"a": {"auc": 0.2}}]
  found = claims.by_variant(by_seed)
  np.testing.assert_array_equal([s["auc"] for s in found["a"]], [0.1, 0.2])
