"""What a server lets a request ask for."""

import dataclasses

from dicm_jax import errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """Bounds, all of them positive."""

  body_bytes: int = 1 << 20
  """Of a request's body."""
  candidates: int = 400
  """Ads of a request."""
  list_length: int = 200
  """Values of a list: of a history, of an ad's tags."""
  timeout_s: float = 2.0
  """From the first byte of a request to its answer."""
  waiting: int = 64
  """Requests that are read, wait or are scored at a time."""
  batch: int = 16
  """Requests that are scored together."""
  window_s: float = 0.001
  """How long requests that were read wait for those that are being read."""
  pictures: int = 8
  """That a request brings along."""
  picture_bytes: int = 8 << 20
  """Of an encoded picture; those in a request's JSON count to its body."""
  pictures_waiting: int = 32
  """That wait for the encoder."""
  uploads: int = 10_000
  """Uploaded pictures that are kept."""

  @property
  def lent(self) -> int:
    """Pictures of all requests that are at work."""
    return self.waiting * self.pictures

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if value < 0 or (field.name != "window_s" and value == 0):
        raise errors.InputError(
          f"limits.{field.name}: expected more than 0, found {value}"
        )
