"""A part of a click log: some of its groups, numbered anew."""

import dataclasses

from jaxtyping import Bool
import numpy as np

from dicm_jax.data import click_log, history


def groups(
  log: click_log.ClickLog, keep: Bool[np.ndarray, " G"]
) -> click_log.ClickLog:
  """The log of the groups marked, in their order, with all their samples."""
  kept = np.flatnonzero(keep)
  samples = np.flatnonzero(keep[log.group])

  def lists(of: dict[str, click_log.Jagged], rows):
    return {name: history.take(value, rows) for name, value in of.items()}

  def some(values: np.ndarray | None, rows):
    return None if values is None else values[rows]

  return dataclasses.replace(
    log,
    user_ids=lists(log.user_ids, kept),
    ad_ids={name: rows[samples] for name, rows in log.ad_ids.items()},
    ad_lists=lists(log.ad_lists, samples),
    user_dense=some(log.user_dense, kept),
    ad_dense=some(log.ad_dense, samples),
    behaviour_images=history.take(log.behaviour_images, kept),
    ad_image=log.ad_image[samples],
    label=log.label[samples],
    group=(np.cumsum(keep) - 1)[log.group[samples]],
    user=log.user[kept],
    time=some(log.time, kept),
    query=some(log.query, kept),
    true_probability=some(log.true_probability, samples),
  )
