"""A selection against the samples it came from, one by one."""

import dataclasses

import numpy as np

from dicm_jax.data import click_log, selection
from tests import toy

LOG = toy.dataset().train


def of_sample(log: click_log.ClickLog, i: int):
  """All that a sample is, by value."""
  group = log.group[i]

  def entries(lists: click_log.Jagged, row):
    place = slice(lists.offsets[row], lists.offsets[row + 1])
    weights = None if lists.weights is None else lists.weights[place].tolist()
    return lists.values[place].tolist(), weights

  return [
    {k: v[i] for k, v in log.ad_ids.items()},
    {k: entries(v, i) for k, v in log.ad_lists.items()},
    {k: entries(v, group) for k, v in log.user_ids.items()},
    entries(log.behaviour_images, group),
    (log.ad_image[i], log.label[i], log.user[group], log.true_probability[i]),
    (log.ad_dense[i].tolist(), log.user_dense[group].tolist()),
  ]


def test_kept_groups_keep_their_samples_and_nothing_else():
  keep = np.random.default_rng(0).random(LOG.num_groups) < 0.5
  made = selection.groups(LOG, keep)
  samples = np.flatnonzero(keep[LOG.group])
  assert made.num_groups == keep.sum()
  assert made.num_samples == len(samples)
  for new, old in enumerate(samples):
    assert of_sample(made, new) == of_sample(LOG, old)


def test_times_and_queries_follow_where_they_are_known():
  times = np.arange(LOG.num_groups)
  log = dataclasses.replace(LOG, time=times, query=times + 1)
  keep = times % 3 == 1
  made = selection.groups(log, keep)
  assert made.time.tolist() == times[keep].tolist()
  assert made.query.tolist() == (times[keep] + 1).tolist()


def test_everything_kept_changes_nothing():
  made = selection.groups(LOG, np.ones(LOG.num_groups, bool))
  assert made.group.tolist() == LOG.group.tolist()
  assert made.behaviour_images.values.tolist() == (
    LOG.behaviour_images.values.tolist()
  )
