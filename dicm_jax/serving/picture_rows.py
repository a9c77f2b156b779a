"""Rows of pictures that a server was sent, behind those of the bundle.

Scorers read `Bundle.images` by row. A server's has spare rows, which are filled
while it runs: some for as long as a request takes, some until the server ends.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import secrets
from typing import NamedTuple

from jaxtyping import Float
import numpy as np

from dicm_jax import errors
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving.limits import Limits


class Full(errors.InputError):
  """There is no row left."""


class Kept(NamedTuple):
  """A picture that later requests may name."""

  digest: str
  """Of its bytes."""
  row: int


def with_room(bundle: bundle_lib.Bundle, limits: Limits) -> bundle_lib.Bundle:
  """The bundle with spare image rows, if it has any image rows at all."""
  if not bundle.fields.image_rows:
    return bundle
  room = limits.uploads + limits.lent
  spare = np.zeros((room, bundle.images.shape[1]), np.float32)
  table = bundle.images[: bundle.fields.image_rows]
  return dataclasses.replace(
    bundle,
    images=np.concatenate([table, spare]),
    image_of=dict(bundle.image_of),
  )


class PictureRows:
  """Fills spare rows. One event loop alone may call it.

  Args:
    bundle: as `with_room` makes it; its `images` and `image_of` change.
    limits: of the server, as `with_room` was given.
  """

  def __init__(self, bundle: bundle_lib.Bundle, limits: Limits):
    assert isinstance(bundle.image_of, dict)
    self._images, self._of = bundle.images, bundle.image_of
    first = bundle.fields.image_rows
    rows = range(first, len(bundle.images)) if first else range(0)
    self._lent = list(rows[: limits.lent])
    self._free = list(rows[limits.lent :])
    self._kept: dict[str, Kept] = {}

  @property
  def kept(self) -> Mapping[str, Kept]:
    """Pictures by key, in the order in which they came."""
    return self._kept

  def keep(self, key: str, digest: str, vector: Float[np.ndarray, " E"]):
    """Lets later requests name a picture.

    Raises:
      Full: so it is.
    """
    if not self._free:
      raise Full(
        f"{len(self._kept)} pictures were uploaded, no more are kept; make a "
        "delta of them"
      )
    row = self._free.pop()
    self._images[row] = vector  # Before anybody can name it.
    self._of[key], self._kept[key] = row, Kept(digest, row)

  def keep_all(self, other: "PictureRows") -> None:
    """Keeps what another has kept, but for keys that are known here."""
    for key, (digest, row) in other.kept.items():
      if key not in self._of:
        self.keep(key, digest, other._images[row])

  @contextlib.contextmanager
  def lend(self, vectors: Float[np.ndarray, "n E"]) -> Iterator[list[str]]:
    """Gives names to pictures, good until the block ends.

    Of the pictures of `Limits.waiting` requests, and no more.
    """
    rows = [self._lent.pop() for _ in vectors]
    # Nobody else can guess them.
    names = [f"\0{secrets.token_hex(16)}" for _ in rows]
    self._images[rows] = vectors
    self._of.update(zip(names, rows, strict=True))
    try:
      yield names
    finally:
      for name in names:
        del self._of[name]
      self._lent += rows
