"""The vectors that workers are sent, of all rows of both tables."""

import dataclasses

import jax
from jaxtyping import Array, Float
import numpy as np

from dicm_jax import evaluate, experiment, fingerprint
from dicm_jax import state as state_lib
from dicm_jax.data import click_log
from dicm_jax.model import inputs as inputs_lib
from dicm_jax.model import nets
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table


def of_ids(
  x: experiment.Experiment, state: state_lib.State
) -> Float[np.ndarray, "R D"]:
  """Rows of the stacked ID table."""
  rows = state.ids
  if not isinstance(rows, np.ndarray):  # They may lie on the host.
    rows = mesh_lib.gather(rows)
  return table.from_buckets(rows, x.layout.num_rows)


def of_images(
  x: experiment.Experiment, state: state_lib.State
) -> Float[np.ndarray, "I E"]:
  """Image rows as their owners answer for them, on any tier and mesh.

  They are asked for as in training, by page views with an ad for each row.
  """
  count = len(x.data.image_names)
  return evaluate.predict(x, state, _shows_all(x.data.test, count), _of_ads)


def _of_ads(
  net: nets.Net,
  ids: Float[Array, "U D"],
  images: Float[Array, "V E"],
  inputs: inputs_lib.Inputs,
) -> Float[Array, "b E"]:
  del net, ids
  return images[inputs.ad_image]


def _shows_all(like: click_log.ClickLog, count: int) -> click_log.ClickLog:
  """A log whose sample i shows picture i, and that says nothing else."""
  rows = np.arange(count)
  zeros, offsets = np.zeros(count, np.int32), np.zeros(count + 1, np.int32)
  weights = {
    name: np.zeros(0, np.float32)
    for name, lists in (like.user_ids | like.ad_lists).items()
    if lists.weights is not None
  }

  def empty(lists: dict[str, click_log.Jagged]):
    return {
      name: click_log.Jagged(zeros[:0], offsets, weights.get(name))
      for name in lists
    }

  def numbers(given: np.ndarray | None):
    return None if given is None else np.zeros((count, given.shape[1]), "f4")

  return dataclasses.replace(
    like,
    user_ids=empty(like.user_ids),
    ad_ids=dict.fromkeys(like.ad_ids, zeros),
    ad_lists=empty(like.ad_lists),
    user_dense=numbers(like.user_dense),
    ad_dense=numbers(like.ad_dense),
    behaviour_images=click_log.Jagged(zeros[:0], offsets),
    ad_image=rows,
    label=zeros.astype(np.float32),
    group=rows,
    user=rows,
    time=None,
    query=None,
    true_probability=None,
  )


def named(tree) -> dict[str, np.ndarray]:
  """Leaves of a tree of parameters by dotted name, e.g. net.linear.0.bias."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    fingerprint.name_of(path): np.ascontiguousarray(leaf, np.float32)
    for path, leaf in leaves
  }
