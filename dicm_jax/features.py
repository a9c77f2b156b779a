"""Frozen features of all pictures, computed once and kept in a cache folder.

The mode `features` of DICM: the fixed part of its image network never changes
(arXiv 1711.06505, section 4.2), so neither does its output.
"""

from collections.abc import Callable, Iterator, Sequence
import concurrent.futures
import os
import pathlib

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Float, UInt8
import numpy as np

from dicm_jax import errors, feature_store
from dicm_jax.data import images as images_lib
from dicm_jax.model import backbone as backbone_lib
from dicm_jax.model import download

# Pictures per device and call of the compiled encoder. Larger calls cost a CPU
# more (VGG16: 0.40 CPU seconds a picture at 8, 0.44 at 16); an accelerator
# wants the whole block.
_CPU_CHUNK = 8
_AHEAD = 2
"""Blocks that are decoded while one is computed."""


def cache_dir() -> pathlib.Path:
  """Returns the default folder: `$XDG_CACHE_HOME` or ~/.cache, /dicm_jax."""
  return download.cache_dir()


def frozen_features(
  image_bytes: Sequence[bytes],
  image_names: Sequence[str],
  backbone: backbone_lib.Backbone,
  *,
  cache_dir: str | os.PathLike[str],
  block: int = 64,
  on_progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "R F"]:
  """Decodes and encodes the pictures that no run has encoded before.

  A picture is known by its bytes, whatever its name, row or data set. Each
  finished block goes to a file of its own, so that a killed run goes on where
  it was. Blocks are decoded ahead of the encoder, and encoded on all devices.

  Args:
    image_bytes: R encoded pictures; read in order, never all in memory.
    image_names: what error messages call them.
    backbone: encoder with its weights.
    cache_dir: folder of the store; made if missing.
    block: pictures a file.
    on_progress: called with (pictures done, R), first with those that are
      known already, then after each block.

  Returns:
    float32 [R, backbone.width], row i for picture i.

  Raises:
    errors.InputError: a picture cannot be decoded, or there are not as many
      names as pictures.
  """
  return extract(
    image_bytes,
    image_names,
    Encoder(backbone, block),
    open_store(cache_dir, backbone),
    on_progress,
  )


def extract(
  image_bytes: Sequence[bytes],
  image_names: Sequence[str],
  encoder: "Encoder",
  store: feature_store.Store,
  on_progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "R F"]:
  """As `frozen_features`, with an encoder and a store that are at hand."""
  total, backbone = len(image_bytes), encoder.backbone
  if len(image_names) != total:
    raise errors.InputError(
      f"expected a name for each picture; found {total} pictures and "
      f"{len(image_names)} names"
    )
  keys = [feature_store.key_of(picture) for picture in image_bytes]
  result = np.empty((total, backbone.width), np.float32)
  found = store.read(keys, result)
  first = {key: i for i, key in reversed(list(enumerate(keys)))}
  new = [i for i, key in enumerate(keys) if first[key] == i and not found[i]]
  known = total - len(new)
  tell = on_progress or (lambda done, total: None)
  tell(known, total)

  def decode(rows: list[int]) -> UInt8[np.ndarray, "K H W 3"]:
    return images_lib.decode_rows(
      image_bytes, image_names, rows, backbone.image_size
    )

  size = encoder.block
  blocks = [new[i : i + size] for i in range(0, len(new), size)]
  for rows, vectors in _encoded(encoder, _ahead(decode, blocks)):
    result[rows] = vectors
    store.add([keys[i] for i in rows], vectors)
    known += len(rows)
    tell(known, total)
  again = [i for i, key in enumerate(keys) if first[key] != i and not found[i]]
  result[again] = result[[first[keys[i]] for i in again]]
  return result


def open_store(
  cache_dir: str | os.PathLike[str], backbone: backbone_lib.Backbone
) -> feature_store.Store:
  """The cache of a backbone's features; the folder is made if missing."""
  return feature_store.Store(_folder(cache_dir, backbone), backbone.width)


def _folder(cache_dir, backbone: backbone_lib.Backbone) -> pathlib.Path:
  """All that decides a picture's features, besides the picture."""
  how = f"{backbone.digest} {backbone.image_size} {images_lib.VERSION}"
  digest = feature_store.key_of(how.encode()).hex()
  return pathlib.Path(cache_dir) / f"{backbone.name}-{digest[:16]}"


def _ahead(decode, blocks: list[list[int]]):
  """Yields each block and its pixels, later ones being decoded meanwhile."""
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    waiting = [pool.submit(decode, rows) for rows in blocks[:_AHEAD]]
    try:
      for i, rows in enumerate(blocks):
        pixels = waiting.pop(0).result()
        waiting += [
          pool.submit(decode, b) for b in blocks[i + _AHEAD : i + _AHEAD + 1]
        ]
        yield rows, pixels
    finally:
      pool.shutdown(cancel_futures=True)


def _encoded(
  encoder: "Encoder", blocks: Iterator[tuple[list[int], np.ndarray]]
) -> Iterator[tuple[list[int], Float[np.ndarray, "K F"]]]:
  """Yields each block's features, the next one's being computed meanwhile."""
  waiting: list[tuple[list[int], list[jax.Array]]] = []
  for rows, pixels in blocks:
    waiting.append((rows, encoder.start(pixels)))
    if len(waiting) > 1:
      before, begun = waiting.pop(0)
      yield before, encoder.finish(begun, len(before))
  for rows, begun in waiting:
    yield rows, encoder.finish(begun, len(rows))


class Encoder:
  """A backbone compiled for one number of pictures; fewer are padded up to it.

  Several devices share each call's pictures.

  Args:
    backbone: network and weights.
    block: pictures of a call, at most.
  """

  def __init__(self, backbone: backbone_lib.Backbone, block: int = 64):
    self.backbone, self.block = backbone, block
    devices = jax.local_devices()
    each = _CPU_CHUNK if devices[0].platform == "cpu" else block
    self._chunk = min(block, each) * len(devices)
    mesh = jax.make_mesh(
      (len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices
    )
    self._over_devices = NamedSharding(mesh, PartitionSpec("data"))
    everywhere = NamedSharding(mesh, PartitionSpec())
    self._params = jax.device_put(backbone.params, everywhere)
    self._apply = jax.jit(backbone.apply, out_shardings=self._over_devices)

  def __call__(
    self, pixels: UInt8[np.ndarray, "K H W 3"]
  ) -> Float[np.ndarray, "K F"]:
    return self.finish(self.start(pixels), len(pixels))

  def start(self, pixels: UInt8[np.ndarray, "K H W 3"]) -> list[jax.Array]:
    """Sends pictures to the devices; does not wait for them."""
    begun = []
    for first in range(0, len(pixels), self._chunk):
      part = pixels[first : first + self._chunk]
      short = self._chunk - len(part)
      padded = np.pad(part, ((0, short), (0, 0), (0, 0), (0, 0)))
      sent = jax.device_put(padded, self._over_devices)
      begun.append(self._apply(self._params, sent))
    return begun

  def finish(
    self, begun: list[jax.Array], count: int
  ) -> Float[np.ndarray, "K F"]:
    """Waits for the features of so many pictures."""
    return np.concatenate([np.asarray(part) for part in begun])[:count]
