"""The thread that embeds pictures which a server is sent.

Encoding takes all cores for some milliseconds a picture, so one thread does it
for all requests, and only so many pictures wait for it. JAX is imported, and
the encoder compiled, when the first picture comes, or at the start if so asked:
a server that is sent none pays nothing.
"""

import asyncio
from collections.abc import Sequence
import concurrent.futures
import contextlib
import functools
import logging

from jaxtyping import Float
import numpy as np

from dicm_jax import errors
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import new_pictures
from dicm_jax.serving.limits import Limits

_log = logging.getLogger(__name__)


class NotYet(Exception):
  """The picture cannot be embedded now; the client may come again."""


class PictureWorker:
  """Embeds pictures by one bundle's layers.

  Args:
    bundle: whose encoder and layers.
    limits: of the server.
  """

  def __init__(self, bundle: bundle_lib.Bundle, limits: Limits):
    self.why_not = new_pictures.why_not(bundle)
    """Why it takes no pictures; "": it does."""
    self._bundle, self._most = bundle, limits.pictures_waiting
    self._pool = concurrent.futures.ThreadPoolExecutor(1, "pictures")
    self._embed: new_pictures.NewPictures | None = None
    self._loading: concurrent.futures.Future | None = None
    self._waiting, self._closed = 0, False

  def load(self) -> None:
    """Loads the encoder, unless there is none.

    Raises:
      InputError: it is damaged.
    """
    if not self.why_not:
      self._embed = new_pictures.NewPictures(self._bundle, 1)

  async def __call__(
    self, pictures: Sequence[bytes], names: Sequence[str]
  ) -> Float[np.ndarray, "n E"]:
    """Vectors of encoded pictures.

    Raises:
      InputError: it takes none, or one cannot be decoded.
      NotYet: the encoder is being loaded, or too many pictures wait.
    """
    if self.why_not:
      raise errors.InputError(f"{names[0]}: {self.why_not}")
    if self._closed:
      raise NotYet("another bundle has taken over")
    if self._embed is None:
      self._begin_to_load()
      raise NotYet("the encoder of pictures is being loaded")
    if self._waiting + len(pictures) > self._most:
      raise NotYet(f"{self._waiting} pictures wait already")
    self._waiting += len(pictures)
    begun = self._pool.submit(self._embed, pictures, names)
    # Whoever waits for it may go away before it ends.
    loop = asyncio.get_running_loop()
    done = functools.partial(self._done, loop, len(pictures))
    begun.add_done_callback(done)
    return await asyncio.wrap_future(begun)

  def close(self) -> None:
    """Lets what has begun end, and takes no more."""
    self._closed = True
    self._pool.shutdown(wait=False)

  def _done(self, loop: asyncio.AbstractEventLoop, count: int, _) -> None:
    """Called in the thread that embeds, or where the wait was given up."""
    with contextlib.suppress(RuntimeError):  # The loop may have ended.
      loop.call_soon_threadsafe(self._gone, count)

  def _gone(self, count: int) -> None:
    self._waiting -= count

  def _begin_to_load(self) -> None:
    if self._loading is None or self._loading.done():
      self._loading = self._pool.submit(self._load)

  def _load(self) -> None:
    try:
      self.load()
    # Nobody waits for it: the log must have it.
    except Exception:
      _log.exception("the encoder of pictures cannot be loaded")
