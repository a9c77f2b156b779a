"""One feature of a click log."""

import dataclasses
import re

from dicm_jax import errors
from dicm_jax.data import schema_checks

SIDES = ("user", "ad", "context")
KINDS = ("id", "ids", "dense", "image", "images", "text")
VOCABULARIES = ("learn", "hash")
LISTS = ("ids", "images", "text")
"""Kinds with any number of values a sample; `id` and `image` have one."""
ID_KINDS = ("id", "ids", "text")
"""Kinds that become rows of the ID table."""
RESERVED = (
  "label",
  "user",
  "time",
  "line",
  "file",
  "group",
  "dwell",
  "test",
  "item",
)
"""Columns of our own beside the features'."""
HISTORY_PREFIX = "history_"
"""Begins our columns of past clicks."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""Names become names of files."""

MAX_BUCKETS = 2**31 - 2
"""Rows are int32, and row 0 comes on top."""
MAX_LENGTH = 1_000_000
"""Values of a list and numbers of a dense feature, at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
  """One feature of the log."""

  name: str
  """What the model and the vocabulary file call it."""
  side: str
  """user: equal within a group; ad or context: one value a sample."""
  kind: str
  """id | ids | dense | image | images | text."""
  column: str = ""
  """Where the log has it; empty: under its name."""
  separator: str = "|"
  """Between the values of a list, where the file format has no lists."""
  dimension: int = 0
  """Numbers of a dense feature; 0 means 1."""
  standardise: bool = True
  """Scale a dense feature to zero mean and unit variance (training split)."""
  vocabulary: str = "learn"
  """learn: a row for each value seen often enough; hash: no vocabulary."""
  buckets: int = 0
  """Rows of a hashed feature, row 0 (missing) not counted."""
  min_count: int = 1
  """Values seen less often in the training split share row 0 = unknown."""
  max_length: int = 0
  """Values kept of a list, the last ones; 0: all."""
  weighted: bool = False
  """Whether list values carry weights, as in `id:weight`."""
  history: bool = False
  """Whether the user's clicked values become a list of the user side."""

  @property
  def width(self) -> int:
    return max(self.dimension, 1)

  def __post_init__(self):
    if not self.column:
      object.__setattr__(self, "column", self.name)
    _check(self)


def _check(found: Field) -> None:
  where = f"feature {found.name!r}"
  _name(found.name, where)
  schema_checks.one_of(f"{where}: side", found.side, SIDES)
  schema_checks.one_of(f"{where}: kind", found.kind, KINDS)
  schema_checks.one_of(f"{where}: vocabulary", found.vocabulary, VOCABULARIES)
  schema_checks.between(f"{where}: dimension", found.dimension, 0, MAX_LENGTH)
  schema_checks.between(f"{where}: max_length", found.max_length, 0, MAX_LENGTH)
  schema_checks.between(f"{where}: buckets", found.buckets, 0, MAX_BUCKETS)
  schema_checks.between(f"{where}: min_count", found.min_count, 1, 2**31)
  schema_checks.text(f"{where}: separator", found.separator)
  _kind(found, where)
  _side(found, where)


def _name(name: str, where: str) -> None:
  if (
    name in RESERVED
    or name.startswith(HISTORY_PREFIX)
    or not _NAME.fullmatch(name)
  ):
    raise errors.InputError(
      f"{where}: expected a name of 1 to 100 letters, digits, _ and - that "
      f"begins neither with _ or - nor with {HISTORY_PREFIX!r} and is none of "
      f"{', '.join(RESERVED)}; call it e.g. '{name.strip('_-') or 'x'}_id', "
      f"and name the log's column by column = {name!r}"
    )


def _kind(found: Field, where: str) -> None:
  """Keys that say something of some kinds only."""
  is_id = found.kind in ID_KINDS
  for key, given, kinds in (
    ("dimension", found.dimension, ("dense",)),
    ("max_length", found.max_length, LISTS),
    ("weighted = true", found.weighted, ("ids",)),
    ("min_count", found.min_count > 1, ID_KINDS),
  ):
    if given and found.kind not in kinds:
      raise errors.InputError(
        f"{where}: {key} expected with kind {' or '.join(kinds)}, found "
        f"{found.kind!r}"
      )
  hashed = found.vocabulary == "hash"
  if hashed != (found.buckets > 0) or (hashed and not is_id):
    raise errors.InputError(
      f'{where}: expected buckets >= 1 with vocabulary = "hash" of ids, and '
      f"none else; found buckets = {found.buckets} with {found.vocabulary!r} "
      f"and kind {found.kind!r}"
    )
  if hashed and found.min_count > 1:
    raise errors.InputError(
      f"{where}: min_count expected with a learned vocabulary; a hashed one "
      "counts nothing"
    )


def _side(found: Field, where: str) -> None:
  if found.kind == "image" and found.side != "ad":
    raise errors.InputError(
      f"{where}: kind 'image' is the picture of the ad; expected side "
      f"'ad', found {found.side!r}. Pictures of a user's behaviours have "
      "kind 'images'"
    )
  if found.kind == "images" and found.side != "user":
    raise errors.InputError(
      f"{where}: kind 'images' are pictures of a user's behaviours; expected "
      f"side 'user', found {found.side!r}"
    )
  of_history = found.side == "ad" and found.kind in ("id", "image")
  if found.history and not of_history:
    raise errors.InputError(
      f"{where}: history = true expected of an id or image of side 'ad'; "
      f"found kind {found.kind!r} of side {found.side!r}"
    )
