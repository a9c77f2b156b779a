"""Frozen features of a data set's pictures, part by part, on any worker."""

from collections.abc import Callable
import dataclasses
import functools
import pathlib
from typing import Any

from dicm_jax import feature_store, features, progress
from dicm_jax.data import feature_files, image_store
from dicm_jax.model import backbone as backbone_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extraction:
  """A task for each part of the image rows."""

  out: pathlib.Path
  """Folder of the data set, its pictures stored."""
  backbone: str
  cut: str
  """Layer whose output is stored; empty: the backbone's own."""
  weights: str
  dtype: str
  """How features are stored: float32, float16 or int8."""

  @property
  def encoder(self) -> feature_files.Encoder:
    """What the data set says of the features.

    Raises:
      InputError: the backbone's name or weights are wrong.
    """
    backbone = _loaded(self.backbone, self.cut, self.weights)
    return feature_files.Encoder(
      name=backbone.name,
      digest=backbone.digest,
      width=backbone.width,
      dtype=self.dtype,
      notice=backbone.notice,
    )

  def run(self, run: Callable[[Callable[[int], Any], int, str], None]) -> None:
    """Encodes all parts; `run` runs the tasks, see `stages.Run`."""
    run(self.write, feature_files.num_parts(self._images()), "features")
    feature_files.finish(self.out, self.encoder)

  def write(self, part: int) -> None:
    """Encodes one part, unless its file is there."""
    if feature_files.exists(self.out, self.encoder, part):
      return
    images = self._images()
    rows = feature_files.rows_of(part, images)
    names = image_store.names(self.out / "images", rows)
    encode, store, told = _tools(self)
    vectors = features.extract(
      image_store.ImageStore(self.out / "images", rows.start, rows.stop),
      names,
      encode,
      store,
      on_progress=told.part(rows.start, images),
    )
    feature_files.write_part(self.out, self.encoder, part, names, vectors)

  def _images(self) -> int:
    return image_store.count(self.out / "images")


@functools.lru_cache(maxsize=1)
def _loaded(name: str, cut: str, weights: str) -> backbone_lib.Backbone:
  return backbone_lib.make(name, cut=cut, weights=weights)


@functools.lru_cache(maxsize=1)
def _tools(
  extraction: Extraction,
) -> tuple[features.Encoder, feature_store.Store, progress.Counter]:
  """Compiled and opened once a process, however many parts it makes."""
  backbone = _loaded(extraction.backbone, extraction.cut, extraction.weights)
  store = features.open_store(features.cache_dir(), backbone)
  told = progress.Counter(f"{backbone.name} features")
  return features.Encoder(backbone), store, told
