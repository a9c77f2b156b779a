"""What training reads: ID features, grouped samples and the pictures' rows."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Literal, NamedTuple

from jaxtyping import Float, Int
import numpy as np

from dicm_jax.data import held_rows

Side = Literal["user", "ad"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feature:
  """One ID feature field of the model."""

  name: str
  side: Side
  """`user`: stored once a group; `ad`: once a sample (context too)."""
  rows: int
  """Number of distinct ids, row 0 (= unknown id) included."""
  lists: bool = False
  """Whether an ad has any number of ids; users always do."""
  context: bool = False
  """Of the ad side: whether it is of the place of the impression (position,
  hour) and not of the ad."""
  past_of: str = ""
  """Of the user side: the ads' feature whose clicked values it lists. All such
  features list the same clicks, oldest first."""
  vocabulary: str = ""
  """Digest of the values behind the rows; empty: the rows are the values."""


class Jagged(NamedTuple):
  """Lists of different length: list g is `values[offsets[g]:offsets[g+1]]`."""

  values: Int[np.ndarray, " V"]
  offsets: Int[np.ndarray, " G+1"]
  weights: Float[np.ndarray, " V"] | None = None
  """Weight of each value where values have weights; None: all 1."""

  @property
  def lengths(self) -> Int[np.ndarray, " G"]:
    return np.diff(self.offsets)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClickLog:
  """Impressions in groups that share one user and one history.

  This is the common-feature grouping of the DICM paper (section 4.3): what
  belongs to the user is held once a group, however many ads it was shown.
  """

  user_ids: dict[str, Jagged]
  """User-side ID features by name: rows in [0, Feature.rows)."""
  ad_ids: dict[str, Int[np.ndarray, " n"]]
  """Ad-side and context ID features by name, one row a sample."""
  ad_lists: dict[str, Jagged] = dataclasses.field(default_factory=dict)
  """Those with any number of rows a sample."""
  user_dense: Float[np.ndarray, "G K"] | None = None
  """All dense numbers of the user side, scaled; None: there are none."""
  ad_dense: Float[np.ndarray, "n L"] | None = None
  """All dense numbers of the ad side and context."""
  behaviour_images: Jagged
  """Image rows of what the user clicked before the group, oldest first."""
  ad_image: Int[np.ndarray, " n"]
  """Image row of the ad shown."""
  label: Float[np.ndarray, " n"]
  """1 clicked, 0 not clicked."""
  group: Int[np.ndarray, " n"]
  """Group of each sample, ascending from 0 without gaps."""
  user: Int[np.ndarray, " G"]
  """User key of each group: the unit over which GAUC averages."""
  time: Int[np.ndarray, " G"] | None = None
  """Milliseconds since 1970 of each group; None: unknown."""
  query: Int[np.ndarray, " G"] | None = None
  """What the user of each group searched for, a place in Dataset.queries; -1:
  nothing. None: nobody knows."""
  true_probability: Float[np.ndarray, " n"] | None = None
  """P(click) of each sample where a simulator knows it."""

  @property
  def num_samples(self) -> int:
    return len(self.label)

  @property
  def num_groups(self) -> int:
    return len(self.user)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
  """Two splits over one set of features and one set of pictures."""

  features: tuple[Feature, ...]
  train: ClickLog
  test: ClickLog
  image_names: tuple[str, ...]
  """File name of each image row, for reports and error messages."""
  image_bytes: Sequence[bytes]
  """Encoded picture (JPEG, PNG, ...) of each image row, perhaps on disk."""
  no_image: int | None = None
  """Image row of ads without a picture; None: every ad has one."""
  titles: Sequence[str] | None = None
  """Title of each image row, empty where there is none; None: nobody knows."""
  queries: Sequence[str] = ()
  """The distinct search queries."""
  user_dense_names: tuple[str, ...] = ()
  """Of the columns of ClickLog.user_dense; empty: nobody knows."""
  ad_dense_names: tuple[str, ...] = ()
  """Of the columns of ClickLog.ad_dense; empty: nobody knows."""
  held: Callable[[str, bool], held_rows.HeldRows | None] = lambda *_: None
  """Frozen features that were computed before, as they are stored, by the
  encoder's digest; with True mapped from a file, else read."""
  digest: str = ""
  """Of all that decides a run's result; empty: nobody needs it."""
  notice: str = ""
  """What every report of this data must say, e.g. that it is simulated."""

  def frozen(self, digest: str) -> Float[np.ndarray, "R F"] | None:
    """Frozen features by the encoder's digest; None if there are none."""
    found = self.held(digest, False)
    return None if found is None else found.everything()


def cold_samples(train: ClickLog, test: ClickLog) -> np.ndarray:
  """Marks test samples whose ad image training has never seen.

  Args:
    train: the training split.
    test: the split to mark.

  Returns:
    bool [n]: True where the ad image is neither the ad image nor a behaviour
    image of any training sample.
  """
  seen = np.union1d(train.ad_image, train.behaviour_images.values)
  return ~np.isin(test.ad_image, seen)


def with_picture(data: Dataset, log: ClickLog) -> np.ndarray:
  """Marks the samples of a split whose ad has a picture: bool [n]."""
  if data.no_image is None:
    return np.ones(log.num_samples, bool)
  return log.ad_image != data.no_image
