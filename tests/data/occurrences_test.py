"""Counts of samples, against a walk over the log in plain Python."""

import collections

import numpy as np

from dicm_jax.data import click_log, occurrences
from dicm_jax.data import layout as layout_lib
from tests import toy


def _values(lists, i):
  return lists.values[lists.offsets[i] : lists.offsets[i + 1]].tolist()


def rows_of(log, layout, sample: int) -> set[int]:
  """Distinct rows of the stacked table that a sample has."""
  first, rows = layout.offsets, set()
  for name, ids in log.ad_ids.items():
    rows.add(first[name] + int(ids[sample]))
  for name, lists in log.ad_lists.items():
    rows |= {first[name] + v for v in _values(lists, sample)}
  for name, lists in log.user_ids.items():
    rows |= {first[name] + v for v in _values(lists, log.group[sample])}
  return rows


def test_each_row_counts_the_samples_that_have_it():
  data = toy.dataset()
  layout = layout_lib.Layout(
    features=data.features, ad_images=True, behaviour_images=True
  )
  counter = collections.Counter(
    row
    for sample in range(data.train.num_samples)
    for row in rows_of(data.train, layout, sample)
  )
  found = occurrences.samples_by_row(data.train, layout)
  expected = [counter[row] for row in range(layout.num_rows)]
  assert found.dtype == np.int64
  assert found.tolist() == expected
  assert min(expected) == 0 and max(expected) < data.train.num_samples


def test_user_value_counts_for_all_samples_of_its_group_but_once_in_each():
  log = click_log.ClickLog(
    user_ids={
      "liked": click_log.Jagged(np.array([2, 2, 1, 2]), np.array([0, 3, 4, 4]))
    },
    ad_ids={"ad": np.array([0, 0, 1, 1, 1, 1])},
    behaviour_images=click_log.Jagged(np.array([], int), np.zeros(4, int)),
    ad_image=np.zeros(6, int),
    label=np.zeros(6),
    group=np.array([0, 0, 0, 1, 2, 2]),
    user=np.arange(3),
  )
  layout = layout_lib.Layout(
    features=(
      click_log.Feature(name="ad", side="ad", rows=3),
      click_log.Feature(name="liked", side="user", rows=4),
    ),
    ad_images=False,
    behaviour_images=False,
  )
  found = occurrences.samples_by_row(log, layout)
  assert found.tolist() == [2, 4, 0] + [0, 3, 4, 0]
