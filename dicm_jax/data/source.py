"""What a reader of logs or pictures offers to `prepare`."""

from collections.abc import Callable, Collection, Iterator
import dataclasses
import pathlib
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
import numpy as np
import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data import schema as schema_lib

BLOCK_ROWS = 1 << 16
"""Samples of a block of events, at most: bounds the memory of a reader."""
BAD_POLICIES = ("stop", "skip")


class Bad:
  """What to do with wrong lines: stop with a message, or skip and list them.

  Attributes:
    found: of skipped lines, {"file", "line", "what"}, the first 1 000.
    count: of all skipped lines.
  """

  KEPT = 1000

  def __init__(self, policy: str = "stop"):
    if policy not in BAD_POLICIES:
      raise errors.unknown_name("--on_bad", policy, BAD_POLICIES)
    self.policy = policy
    self.count = 0
    self.found: list[dict[str, str | int]] = []

  def summary(self) -> dict[str, Any]:
    """As plain values, for a stage's result and the manifest."""
    return {"bad": self.found, "bad_count": self.count}

  def report(self, file: pathlib.Path | str, line: int | str, what: str):
    """Raises InputError, or notes the line and returns.

    Args:
      file: where.
      line: number from 1, or e.g. "offset 16392".
      what: field, what was expected, what was found.
    """
    if self.policy == "stop":
      raise errors.InputError(
        f"{file}, {f'line {line}' if isinstance(line, int) else line}: {what}"
        " (--on_bad=skip leaves such entries out and lists them)"
      )
    self.count += 1
    if len(self.found) < self.KEPT:
      name = pathlib.Path(file).name
      self.found.append({"file": name, "line": line, "what": what})


ReadEvents = Callable[
  [pathlib.Path, schema_lib.Schema, Bad], Iterator[pa.Table]
]
"""Yields blocks of events, see `schema.block_schema`, of at most BLOCK_ROWS
rows, in the order of the file. Must pickle: a module's function or a
functools.partial of one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Events:
  """A click log on disk."""

  schema: schema_lib.Schema
  files: tuple[pathlib.Path, ...]
  """Read one by one, in this order."""
  read: ReadEvents
  items: pa.Table | None = None
  """The item table, see `schema.items_schema`; keys without repeats."""
  items_file: pathlib.Path | None = None
  """Where the item table came from, for messages."""
  bad: Bad = dataclasses.field(default_factory=Bad)
  """What reading the item table left out."""
  notice: str = ""
  """What every report must say, e.g. by which rule ratings became clicks."""


@runtime_checkable
class Pictures(Protocol):
  """Encoded pictures by key, in an order that never changes."""

  def keys(self) -> Iterator[str]:
    """All keys, without decoding anything; no key twice."""
    ...

  def read(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """The wanted ones in the order of `keys`, one picture in memory."""
    ...


@runtime_checkable
class Vectors(Protocol):
  """Precomputed features by image key, in an order that never changes."""

  width: int

  def keys(self) -> Iterator[str]: ...

  def read(
    self, wanted: Collection[str]
  ) -> Iterator[tuple[list[str], Float[np.ndarray, "n width"]]]:
    """The wanted ones in the order of `keys`, in blocks of n <= 4096.

    A wanted vector that is wrong is reported once and left out each time.
    """
    ...
