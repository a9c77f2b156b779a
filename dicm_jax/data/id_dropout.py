"""Drops known ids at random, so that row 0 learns what an unknown id is worth.

A vocabulary is learned from the training split, so training rarely meets an
unknown id and the test often does. Replacing an id of a sample by the unknown
one with a small probability, in training alone, prepares the model for cold
items.
Source: Volkovs, Yu and Poutanen, "DropoutNet: Addressing Cold Start in
Recommender Systems" (NeurIPS 2017), which drops a whole side's
preference vector; here each field falls by itself.
"""

from collections.abc import Callable, Sequence

import numpy as np

from dicm_jax import errors
from dicm_jax.data import device_slice
from dicm_jax.data import layout as layout_lib

Drop = Callable[[int], device_slice.Dropped]
"""Step -> what is dropped from its batch, of all devices."""

# The order of samples draws from the seed too; this keeps the streams apart.
_STREAM = 0x1D


def nothing(step: int) -> device_slice.Dropped:
  """Drops no id."""
  del step
  return {}


def at_random(
  probability: float,
  fields: Sequence[str],
  layout: layout_lib.Layout,
  *,
  seed: int,
  batch_size: int,
) -> Drop:
  """Drops each sample's id of each field with the same probability.

  What a step drops is a pure function of (seed, step): it does not depend on
  devices, processes or the steps before.

  Args:
    probability: in [0, 1]; 0 drops nothing.
    fields: fields of the ad side with one id a sample.
    layout: what a batch holds.
    seed: of the run.
    batch_size: B, over all devices.

  Raises:
    InputError: no such field, or a probability without fields.
  """
  for name in fields:
    if name not in layout.ad_fields:
      raise errors.unknown_name(
        "train.id_dropout_fields", name, layout.ad_fields
      )
  if not probability:
    return nothing
  if not fields:
    raise errors.InputError(
      f"train.id_dropout_fields: expected names of ID fields with "
      f"train.id_dropout={probability}, found none (known: "
      f"{', '.join(layout.ad_fields)})"
    )

  def drop(step: int) -> device_slice.Dropped:
    source = np.random.SeedSequence([seed, step], spawn_key=(_STREAM,))
    rng = np.random.Generator(np.random.Philox(source))
    drawn = rng.random((len(fields), batch_size))
    return dict(zip(fields, drawn < probability, strict=True))

  return drop
