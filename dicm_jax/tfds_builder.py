"""A prepared data set through tensorflow-datasets; TensorFlow is not needed.

  builder = tfds_builder.Prepared(path="prepared", data_dir="tfds")
  builder.download_and_prepare()
  groups = builder.as_data_source(split="train")
  groups[0]["label"]

Configs: `samples`, one element a group with splits `train` and `test`, and
`pictures`, one element an image row with the split `pictures`. Elements come in
the order of the shards. Serialised records hold no lists of lists, so such a
column's values lie end to end, beside a column NAME_lengths.
"""

from collections.abc import Iterator
import hashlib
import json
import os
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_datasets as tfds

from dicm_jax import errors, prepare
from dicm_jax.data import prepared

SPLITS = {
  "samples": {"train": "train", "test": "test"},
  "pictures": {"pictures": "images"},
}
"""Folder of each split, by config."""
LENGTHS = "_lengths"


class Prepared(tfds.core.GeneratorBasedBuilder):
  """Copies a prepared data set into records that tfds reads at random."""

  name = "dicm_prepared"
  VERSION = tfds.core.Version("1.0.0")

  def __init__(
    self,
    *,
    path: str | os.PathLike[str] = "",
    options: prepare.Options | None = None,
    config: str = "samples",
    **kwargs: Any,
  ):
    """Opens the data set, and makes it first if there are options.

    Args:
      path: folder made by `python -m dicm_jax.prepare`.
      options: in its place, what to prepare; nothing is done twice.
      config: samples or pictures.
      **kwargs: of tfds.core.GeneratorBasedBuilder, as data_dir.

    Raises:
      InputError: the folder holds no finished data set, or preparing fails; or
        it has no pictures, and they are asked for.
    """
    if config not in SPLITS:
      raise errors.unknown_name("config", config, SPLITS)
    if options is not None:
      prepare.prepare(options)
    self._path = pathlib.Path(path if options is None else options.out)
    self._manifest = prepared.read_manifest(self._path)
    self._folders = SPLITS[config]
    for folder in self._folders.values():
      if not self._files(folder):
        raise errors.InputError(
          f"config={config!r}: {self._path} holds no {folder}"
        )
    # Another data set in the same data_dir is another folder there.
    named = tfds.core.BuilderConfig(name=f"{config}-{self._digest()}")
    super().__init__(**({"file_format": "array_record"} | kwargs), config=named)

  def _digest(self) -> str:
    """Of all files of the data set."""
    text = json.dumps(self._manifest["files"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=self._manifest["notice"] or "A prepared click log.",
      features=_features(self._schema()),
      disable_shuffling=True,
    )

  def _schema(self) -> pa.Schema:
    first, *_ = self._folders.values()
    return pq.read_schema(self._files(first)[0])

  def _files(self, folder: str) -> list[pathlib.Path]:
    return sorted((self._path / folder).glob("part-*.parquet"))

  def _split_generators(self, dl_manager):
    del dl_manager  # Nothing is downloaded.
    return {k: self._generate_examples(v) for k, v in self._folders.items()}

  def _generate_examples(
    self, folder: str
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    for file in self._files(folder):
      for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(1024):
        for row in batch.to_pylist():
          yield number, _example(row, batch.schema)
          number += 1


def _features(schema: pa.Schema) -> tfds.features.FeaturesDict:
  """What tfds calls the columns of a Parquet file."""
  out = {}
  for field in schema:
    if _is_nested(field.type):
      out[field.name + LENGTHS] = tfds.features.Sequence(np.int32)
    out[field.name] = _feature(field.type)
  return tfds.features.FeaturesDict(out)


def _is_nested(kind: pa.DataType) -> bool:
  return _is_list(kind) and _is_list(kind.value_type)


def _is_list(kind: pa.DataType) -> bool:
  types = pa.types
  return types.is_list(kind) or types.is_fixed_size_list(kind)


def _feature(kind: pa.DataType):
  if _is_nested(kind):
    return _feature(kind.value_type)
  if _is_list(kind):
    return tfds.features.Sequence(_feature(kind.value_type))
  if pa.types.is_string(kind):
    return tfds.features.Text()
  if pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
    return tfds.features.Tensor(shape=(), dtype=np.bytes_)
  empty = pa.array([], kind).to_numpy(zero_copy_only=False)
  return tfds.features.Scalar(empty.dtype)


def _example(row: dict[str, Any], schema: pa.Schema) -> dict[str, Any]:
  out = {}
  for field in schema:
    value = row[field.name]
    if _is_nested(field.type):
      out[field.name + LENGTHS] = [len(entries) for entries in value]
      value = [entry for entries in value for entry in entries]
    out[field.name] = value
  return out
