"""The talk's tables and claims fit what is measured."""

import pytest

from benchmarks import claims, encoders, jd_tables, variants
from dicm_jax.data import sample


@pytest.fixture
def scores(monkeypatch):
  """Scores of each variant that `measured` asks for, without training."""

  def of(*names):
    return lambda *_: dict.fromkeys(names, 0.5)

  accuracy = ("pair_accuracy", "gauc", "auc")
  end = ("loss", "zeros_map", "zeros")
  monkeypatch.setattr(sample, "generate", lambda seed: _World())
  monkeypatch.setattr(encoders, "trained", of(*accuracy, *end))
  monkeypatch.setattr(encoders, "of_squeezenet", of(*accuracy))
  monkeypatch.setattr(encoders, "best_possible", of("pair_accuracy"))
  monkeypatch.setattr(variants, "score", of("gauc", "auc", "auc_cold"))
  return jd_tables.measured


class _World:
  dataset = None


def test_every_table_and_claim_is_of_what_is_measured(scores, tmp_path):
  by_seed = [scores(seed, tmp_path / "out.json") for seed in (0, 1)]
  results = claims.by_variant(by_seed)
  shown = set()
  for each in jd_tables.TABLES:
    lines = jd_tables.table(each, results)
    assert {line.count("|") for line in lines[1:]} == {len(each.columns) + 2}
    shown |= set(each.variants)
  assert shown == set(results)
  for claim in jd_tables.CLAIMS:
    head, *_ = claims.judged(claim, results)
    # Equal scores: no difference is above 0, nor below.
    assert head == f"\n**{claim.text}**: undecided\n"


@pytest.mark.parametrize(
  "variant", jd_tables.UNIFIED.values(), ids=jd_tables.UNIFIED
)
def test_unified_variants_are_configs(variant):
  assert variants.config_of(variant, 3).seed == 3


def test_encoders_differ_in_what_the_table_says():
  strided, separate, pooled = (
    encoders.config_of(jd_tables.CHANGES[name], 0)
    for name in jd_tables.PAIRWISE
  )
  assert (strided.pairs.statistics, strided.encoder.last) == (
    "joint",
    "strided",
  )
  assert separate.pairs.statistics == "separate"
  assert separate.encoder == strided.encoder
  assert pooled.encoder.last == "max"
  assert pooled.pairs == strided.pairs
