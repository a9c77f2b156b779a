"""How often each row of the stacked ID table occurs in a split."""

from jaxtyping import Int
import numpy as np

from dicm_jax.data import click_log
from dicm_jax.data import layout as layout_lib


def samples_by_row(
  log: click_log.ClickLog, layout: layout_lib.Layout
) -> Int[np.ndarray, " R"]:
  """Counts the samples that have each row of the stacked table.

  A value of the user side counts once for each sample of its group; a value
  that a list holds twice counts once.

  Args:
    log: the split.
    layout: the features in the stack's order.

  Returns:
    int64 [layout.num_rows]; 0 where no sample has the row.
  """
  group_sizes = np.bincount(log.group, minlength=log.num_groups)
  once = np.ones(log.num_samples, np.int64)

  def count(feature: click_log.Feature) -> np.ndarray:
    if feature.side == "user":
      return _by_value(log.user_ids[feature.name], group_sizes, feature.rows)
    if feature.lists:
      return _by_value(log.ad_lists[feature.name], once, feature.rows)
    return np.bincount(log.ad_ids[feature.name], minlength=feature.rows)

  return np.concatenate([count(feature) for feature in layout.features])


def _by_value(
  lists: click_log.Jagged, samples: Int[np.ndarray, " G"], rows: int
) -> Int[np.ndarray, " rows"]:
  """Adds up the samples of the lists that hold each value."""
  owner = np.repeat(np.arange(len(samples)), lists.lengths)
  owner, value = np.divmod(np.unique(owner * rows + lists.values), rows)
  # Floats of 64 bits are exact up to 2^53 samples.
  return np.bincount(value, samples[owner], rows).astype(np.int64)
