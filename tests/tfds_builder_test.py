"""tensorflow-datasets reads back what the Parquet files hold."""

import dataclasses
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax import errors, tfds_builder
from dicm_jax.data.preparation import manifest, stages
from tests.data import logs


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  return logs.prepare(logs.job(folder, logs.rows()))


def read(folder: str, prepared) -> list[dict]:
  files = sorted((prepared / folder).glob("part-*.parquet"))
  return pa.concat_tables(pq.read_table(f) for f in files).to_pylist()


def plain(value):
  """Whatever tfds gives, as Python values."""
  if isinstance(value, (list, tuple, np.ndarray)):
    return [plain(entry) for entry in value]
  if isinstance(value, np.generic):
    return value.item()
  return value


def same(found: dict, expected: dict) -> bool:
  nested = [k for k in expected if k + tfds_builder.LENGTHS in found]
  assert set(found) == set(expected) | {
    k + tfds_builder.LENGTHS for k in nested
  }
  for name, value in expected.items():
    if name in nested:
      lengths = plain(found[name + tfds_builder.LENGTHS])
      assert lengths == [len(entries) for entries in value]
      value = [entry for entries in value for entry in entries]
    if isinstance(value, str):
      value = value.encode()
    assert plain(found[name]) == value, name
  return bool(nested)


def test_every_group_is_read_back(prepared, tmp_path):
  builder = tfds_builder.Prepared(path=prepared, data_dir=tmp_path)
  builder.download_and_prepare()
  some_nested = False
  for split in ("train", "test"):
    source, expected = builder.as_data_source(split), read(split, prepared)
    assert len(source) == len(expected) > 10
    for found, row in zip(source, expected, strict=True):
      some_nested |= same(found, row)
  assert some_nested


def test_pictures_are_read_back_bit_for_bit(prepared, tmp_path):
  builder = tfds_builder.Prepared(
    path=prepared, data_dir=tmp_path, config="pictures"
  )
  builder.download_and_prepare()
  source, expected = (
    builder.as_data_source("pictures"),
    read("images", prepared),
  )
  assert len(source) == len(expected) == 20
  assert not any(map(same, source, expected))  # No column is nested.
  assert source[3]["bytes"] == expected[3]["bytes"]


def test_two_data_sets_in_one_folder_are_kept_apart(prepared, tmp_path):
  other = logs.prepare(logs.job(tmp_path / "b", logs.rows(seed=1, events=90)))
  for path in (prepared, other):
    builder = tfds_builder.Prepared(path=path, data_dir=tmp_path / "tfds")
    builder.download_and_prepare()
    source, expected = builder.as_data_source("train"), read("train", path)
    assert len(source) == len(expected)
    for found, row in zip(source, expected, strict=True):
      same(found, row)


def test_what_a_data_set_lacks_is_named(tmp_path):
  plain = dataclasses.replace(
    logs.SCHEMA,
    feature=tuple(f for f in logs.SCHEMA.feature if f.kind != "image"),
  )
  made = logs.job(tmp_path, logs.rows(), plain)
  stages.prepare(made, None, logs.local)
  manifest.finish(made, {})
  with pytest.raises(errors.InputError, match=r"config='pictures': .* no imag"):
    tfds_builder.Prepared(path=made.out, config="pictures", data_dir=tmp_path)
  with pytest.raises(errors.InputError, match="unknown config 'picture'"):
    tfds_builder.Prepared(path=made.out, config="picture", data_dir=tmp_path)


def test_tensorflow_is_not_imported():
  code = (
    "import sys; from dicm_jax import tfds_builder; "
    "sys.exit('tensorflow' in sys.modules)"
  )
  assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_folder_without_a_data_set(tmp_path):
  with pytest.raises(errors.InputError, match=r"holds no manifest\.json"):
    tfds_builder.Prepared(path=tmp_path, data_dir=tmp_path)
