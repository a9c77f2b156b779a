"""What a batch holds, and where each feature's rows lie in the stack."""

import dataclasses

import numpy as np

from dicm_jax.data import click_log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """What a batch holds, and where each feature's rows start in the stack."""

  features: tuple[click_log.Feature, ...]
  ad_images: bool
  """Whether the ads' images are asked for."""
  behaviour_images: bool
  """Whether the behaviours' images are asked for."""
  past_ids: bool = False
  """Whether samples are paired with the past clicks of their groups."""
  windowed: bool = False
  """Whether image rows are numbered anew within each batch, which brings their
  content along."""
  ids_windowed: bool = False
  """Whether ID rows are numbered anew within each batch, see `id_window`."""

  @property
  def offsets(self) -> dict[str, int]:
    """First row of each feature in the stacked table."""
    ends = np.cumsum([f.rows for f in self.features]).tolist()
    starts = [0, *ends[:-1]]
    return {f.name: s for f, s in zip(self.features, starts, strict=True)}

  @property
  def num_rows(self) -> int:
    """Rows of the stacked table."""
    return sum(f.rows for f in self.features)

  @property
  def user_fields(self) -> tuple[str, ...]:
    return tuple(f.name for f in self.features if f.side == "user")

  @property
  def past_fields(self) -> tuple[tuple[str, str], ...]:
    """User fields of past clicks, each with the ads' field it is of."""
    return tuple((f.name, f.past_of) for f in self.features if f.past_of)

  @property
  def context_fields(self) -> tuple[str, ...]:
    """Fields of the ad side that are not of the ad itself."""
    return tuple(f.name for f in self.features if f.context)

  @property
  def ad_fields(self) -> tuple[str, ...]:
    """Fields with one id a sample."""
    return self._ad(lists=False)

  @property
  def ad_list_fields(self) -> tuple[str, ...]:
    """Fields with any number of ids a sample."""
    return self._ad(lists=True)

  def _ad(self, *, lists: bool) -> tuple[str, ...]:
    return tuple(
      f.name for f in self.features if f.side == "ad" and f.lists == lists
    )
