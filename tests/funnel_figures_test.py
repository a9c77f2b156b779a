"""Figures of a funnel, of rankings made by hand."""

import numpy as np
import pytest

from dicm_jax import funnel_figures

ADS = 30


def made():
  """Two page views; the rank model likes the ads in order, and backwards."""
  up, down = np.arange(ADS), np.arange(ADS)[::-1]
  rows = {
    "match": [up[5:25], down[:20]],
    "match, pre-rank": [up[8:20], down[:12]],
    funnel_figures.TRUTH: [up, down],
  }
  seconds = dict.fromkeys(funnel_figures.COSTS, 0.002)
  return funnel_figures.Rankings(rows, seconds)


def test_recall_is_the_share_of_the_final_ads_that_are_left():
  found = funnel_figures.figures(made(), 10, np.array([7, 3]))
  assert (found["k"], found["page_views"], found["users"]) == (10, 2, 2)
  recall = found["recall"]
  # Of ads 0 to 9 the first page view's match has 5 to 9.
  assert recall["match"]["10"]["mean"] == (0.5 + 1) / 2
  assert recall["match, pre-rank"]["10"]["mean"] == (0.2 + 1) / 2
  assert recall["match"]["20"]["mean"] == (0.5 + 1) / 2
  # Numbers beyond what a ranking has, and below k, are no figures of it.
  assert list(recall["match"]) == ["10", "20"]
  assert list(recall["match, pre-rank"]) == ["10"]
  assert funnel_figures.TRUTH not in recall
  assert recall["match"]["10"]["low"] == 0.5
  assert recall["match"]["10"]["high"] == 1.0
  assert found["ads_scored"] == {"pre-rank": 20, "rank": 12, "rank alone": 30}
  assert found["ms"]["rank"] == 2.0
  assert "true_probability" not in found


def test_true_probability_is_of_the_first_ads():
  true = np.stack([np.linspace(0.58, 0, ADS), np.linspace(0, 0.58, ADS)])
  found = funnel_figures.figures(made(), 10, np.array([7, 3]), true)
  of = found["true_probability"]
  first = true[0, :10].mean()
  assert of["rank alone"]["mean"] == pytest.approx(first)
  assert of["rank alone"]["gain"] == 0
  match = (true[0, 5:15].mean() + first) / 2
  assert of["match"]["mean"] == pytest.approx(match)
  assert of["match"]["gain"] == pytest.approx(match - first)
  assert of["match"]["gain_low"] == pytest.approx(2 * (match - first))
  assert of["best possible"]["mean"] == pytest.approx(first)
  assert of["all ads"]["mean"] == pytest.approx(true.mean())


def test_page_views_of_a_user_count_together():
  found = funnel_figures.figures(made(), 10, np.array([7, 7]))
  match = found["recall"]["match"]["10"]
  assert found["users"] == 1
  assert match["low"] == match["high"] == match["mean"] == 0.75


def test_tables_have_a_line_for_each_ranking():
  true = np.full((2, ADS), 0.25)
  found = funnel_figures.figures(made(), 10, np.array([7, 3]), true)
  text = funnel_figures.text(found)
  assert text.count("match, pre-rank") == 2
  assert "by graph" in text
  assert "0.2500  [0.2500, 0.2500]  +0.0000" in text
