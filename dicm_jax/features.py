"""Frozen features of all pictures, computed once and kept in a cache folder.

The mode `features` of DICM: the fixed part of its image network never changes
(arXiv 1711.06505, section 4.2), so neither does its output.
"""

from collections.abc import Callable, Sequence
import concurrent.futures
import hashlib
import os
import pathlib
import tempfile

from absl import logging
import jax
from jaxtyping import Float, UInt8
import numpy as np

from dicm_jax.data import images as images_lib
from dicm_jax.model import backbone as backbone_lib
from dicm_jax.model import download

# Pictures per call of the compiled encoder. Larger calls cost a CPU more
# (VGG16: 0.40 CPU seconds a picture at 8, 0.44 at 16); an accelerator wants
# the whole block.
_CPU_CHUNK = 8


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
  """Decodes and encodes pictures, block by block.

  Each finished block goes to a file of its own, so that a killed run goes on
  where it was, and a second run computes nothing. The file's name is a hash
  of the block's pictures and of all that decides their features: nothing
  stale can be read.

  Args:
    image_bytes: R encoded pictures.
    image_names: what error messages call them.
    backbone: encoder with its weights.
    cache_dir: folder of the block files; made if missing.
    block: pictures a file; the same number finds the same files again.
    on_progress: called with (pictures done, R) after each block.

  Returns:
    float32 [R, backbone.width], row i for picture i.

  Raises:
    errors.InputError: a picture cannot be decoded, or there are not as many
      names as pictures.
  """
  folder = pathlib.Path(cache_dir)
  folder.mkdir(parents=True, exist_ok=True)
  total = len(image_bytes)
  result = np.empty((total, backbone.width), np.float32)
  blocks = [slice(i, min(i + block, total)) for i in range(0, total, block)]
  paths = [folder / _file_name(image_bytes[b], backbone) for b in blocks]
  encode = _encoder(backbone, block)

  def load(i: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Returns the features if a file has them, else the decoded pictures."""
    b = blocks[i]
    found = _read(paths[i], (b.stop - b.start, backbone.width))
    if found is not None:
      return found, None
    return None, images_lib.decode_all(
      image_bytes[b], image_names[b], backbone.image_size
    )

  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    following = pool.submit(load, 0) if blocks else None
    for i, b in enumerate(blocks):
      assert following is not None
      features, pixels = following.result()
      # The next block is decoded while this one computes.
      if i + 1 < len(blocks):
        following = pool.submit(load, i + 1)
      if features is None:
        assert pixels is not None
        features = encode(pixels)
        _write(paths[i], features)
      result[b] = features
      if on_progress is not None:
        on_progress(b.stop, total)
  return result


def _encoder(
  backbone: backbone_lib.Backbone, block: int
) -> Callable[[UInt8[np.ndarray, "K H W 3"]], Float[np.ndarray, "K F"]]:
  """Compiles the encoder for one number of pictures and pads up to it."""
  chunk = min(block, _CPU_CHUNK) if jax.default_backend() == "cpu" else block
  apply = jax.jit(backbone.apply)

  def encode(pixels: np.ndarray) -> np.ndarray:
    parts = []
    for start in range(0, len(pixels), chunk):
      part = pixels[start : start + chunk]
      short = chunk - len(part)
      padded = np.pad(part, ((0, short), (0, 0), (0, 0), (0, 0)))
      features = np.asarray(apply(backbone.params, padded))
      parts.append(features[: len(part)])
    return np.concatenate(parts)

  return encode


def _file_name(block: Sequence[bytes], backbone: backbone_lib.Backbone) -> str:
  digest = hashlib.sha256()
  how = f"{backbone.digest} {backbone.image_size} {images_lib.VERSION}"
  digest.update(how.encode())
  for data in block:
    # A hash per picture, so that moving a byte from one to the next counts.
    digest.update(hashlib.sha256(data).digest())
  return f"{digest.hexdigest()}.npy"


def _read(path: pathlib.Path, shape: tuple[int, int]) -> np.ndarray | None:
  """Returns the block in `path`, or None if it is missing or damaged."""
  if not path.exists():
    return None
  try:
    found = np.load(path, allow_pickle=False)
    if found.shape != shape or found.dtype != np.float32:
      raise ValueError(
        f"expected float32 {shape}; found {found.dtype} {found.shape}"
      )
    if not np.isfinite(found).all():
      raise ValueError("expected finite numbers")
  except (EOFError, OSError, ValueError) as e:
    logging.warning("%s: damaged features, computed again: %s", path, e)
    return None
  return found


def _write(path: pathlib.Path, features: np.ndarray) -> None:
  """Writes all of the file or nothing."""
  handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
  try:
    with os.fdopen(handle, "wb") as file:
      np.save(file, features, allow_pickle=False)
    os.replace(temporary, path)
  except BaseException:
    pathlib.Path(temporary).unlink(missing_ok=True)
    raise
