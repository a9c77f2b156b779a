"""Titles say what is to be seen, queries what users like."""

import numpy as np

from dicm_jax.data.simulator import appearance, wording


def test_titles_name_marked_attributes_and_the_category():
  numbers = np.zeros((2, len(appearance.ATTRIBUTES)))
  numbers[0, appearance.ATTRIBUTES.index("brightness")] = -2
  numbers[0, appearance.ATTRIBUTES.index("pattern")] = 1
  made = wording.titles(numbers, ["dress", "hat"])
  assert made == ("dark patterned dress", "hat")


def test_queries_follow_tastes():
  taste = np.zeros((4000, len(appearance.ATTRIBUTES)))
  taste[:, appearance.ATTRIBUTES.index("elongation")] = 1.0
  categories = np.tile([0.0, 0.0, 2.0], (4000, 1))
  drawn = wording.draw_queries(np.random.default_rng(0), taste, categories)
  queries = wording.queries(["dress", "hat", "skirt"])
  asked = [queries[i].split() for i in drawn]
  long, wide, skirts = (
    np.mean([word in query for query in asked])
    for word in ("long", "wide", "skirt")
  )
  # Softmax of 2 x logits: e^2 and e^-2 beside ten of 1, and e^4 beside two.
  share = np.exp(2) / (np.exp(2) + np.exp(-2) + 10)
  assert abs(long - share) < 0.03  # Four standard errors of 4 000 draws.
  assert wide < 0.03
  assert abs(skirts - np.exp(4) / (np.exp(4) + 2)) < 0.012


def test_titles_and_queries_share_words():
  queries = {word for q in wording.queries(["dress"]) for word in q.split()}
  strong = np.repeat([[-9.0], [9.0]], len(appearance.ATTRIBUTES), axis=1)
  titles = {w for t in wording.titles(strong, ["dress"] * 2) for w in t.split()}
  assert titles == queries
