"""Scores page views by the exported network, whatever network it is, by JAX.

Arrays get one of few sizes, all of which can be compiled ahead: nothing is
compiled while requests wait.
"""

from collections.abc import Sequence
import copy
import dataclasses

from jaxtyping import Float
import numpy as np

from dicm_jax.data import batch as batch_lib
from dicm_jax.data import click_log, device_slice
from dicm_jax.data import room as room_lib
from dicm_jax.serving import artifact, logs, net_inputs
from dicm_jax.serving import bundle as bundle_lib

_SAMPLES = 4096
"""Samples of a call where no ladder says."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
  """What arrays have room for."""

  samples: int
  groups: int
  entries: int
  """Of the longest list of a page view or an ad."""


class ArtifactScorer:
  """Probabilities of clicks by a bundle.

  Args:
    bundle: the bundle.
    ladder: sizes, ascending, all of which are compiled at once. A log that
      fits in none gets a size of its own, compiled when it comes.

  Raises:
    InputError: the artifact is damaged or of another version of JAX.
  """

  name = "artifact"

  def __init__(self, bundle: bundle_lib.Bundle, ladder: Sequence[Sizes] = ()):
    self._ids, self._images = bundle.ids, bundle.images
    self._layout = bundle.fields.layout
    self._specs = net_inputs.specs(bundle.fields, bundle.manifest["widths"])
    self._call = artifact.read(bundle, bundle_lib.NET)
    self._ladder = tuple(ladder)
    for sizes in self._ladder:
      self._call(self._zeros(sizes)).block_until_ready()

  def over(self, bundle: bundle_lib.Bundle) -> "ArtifactScorer":
    """The same network over the tables of another bundle."""
    made = copy.copy(self)
    made._ids, made._images = bundle.ids, bundle.images
    made._layout = bundle.fields.layout
    return made

  def __call__(self, log: click_log.ClickLog) -> Float[np.ndarray, " n"]:
    """Probability of a click for each sample, in the log's order."""
    most = self._ladder[-1].samples if self._ladder else _SAMPLES
    parts = [logs.part(log, groups) for groups in logs.blocks(log, most)]
    found = [self._score(part) for part in parts]
    return np.concatenate([np.zeros(0, np.float32), *found])

  def _score(self, log: click_log.ClickLog) -> Float[np.ndarray, " n"]:
    sizes = self._sizes(log)
    samples = np.full(sizes.samples, device_slice.EMPTY)
    samples[: log.num_samples] = np.arange(log.num_samples)
    batch = batch_lib.build(
      log,
      samples,
      self._layout,
      num_devices=1,
      capacities=self._room(sizes),
    )
    inputs = net_inputs.of_batch(batch, self._ids, self._images)
    return np.asarray(self._call(inputs))[: log.num_samples]

  def _sizes(self, log: click_log.ClickLog) -> Sizes:
    """The smallest size of the ladder that a log fits in, or its own."""
    lists = [*log.user_ids.values(), *log.ad_lists.values()]
    lists.append(log.behaviour_images)
    need = (
      log.num_samples,
      log.num_groups + 1,  # Padding may count as one.
      max(int(one.lengths.max(initial=0)) for one in lists),
    )
    for sizes in self._ladder:
      there = dataclasses.astuple(sizes)
      if all(a <= b for a, b in zip(need, there, strict=True)):
        return sizes
    samples, groups, entries = map(room_lib.rung, need)
    return Sizes(samples=samples, groups=groups, entries=entries)

  def _room(self, sizes: Sizes) -> room_lib.Capacities:
    """Room for each ragged array of a batch, see `room.sizes_of`."""
    layout = self._layout
    of_groups, of_samples = (
      n * sizes.entries for n in (sizes.groups, sizes.samples)
    )
    users, lists = layout.user_fields, layout.ad_list_fields
    need = {
      "id_rows": len(layout.ad_fields) * sizes.samples
      + len(users) * of_groups
      + len(lists) * of_samples,
      "image_rows": of_groups + sizes.samples,
      "groups": sizes.groups,
      "behaviours": of_groups if layout.behaviour_images else 0,
      "image_pairs": of_samples if layout.behaviour_images else 0,
      "id_pairs": of_samples if layout.past_ids else 0,
      **{f"ids.{name}": of_groups for name in users},
      **{f"ids.{name}": of_samples for name in lists},
    }
    return {name: room_lib.rung(size) for name, size in need.items()}

  def _zeros(self, sizes: Sizes) -> dict[str, np.ndarray]:
    """Inputs of a size."""
    room = self._room(sizes) | {"samples": sizes.samples}
    fields = (*self._layout.user_fields, *self._layout.ad_list_fields)
    for number, name in enumerate(fields):
      room[net_inputs.entries(number)] = room[f"ids.{name}"]
    return {
      name: np.zeros(
        [d if isinstance(d, int) else room[d] for d in spec.shape], spec.dtype
      )
      for name, spec in self._specs.items()
    }
