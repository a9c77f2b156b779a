"""Embeddings of a data set's pictures as a table; new pictures alone cost."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import embed_items, errors, experiment, features
from dicm_jax.data import images, vectors
from dicm_jax.model import backbone, encoder_file, encoders
from tests import toy

CONFIG = encoders.EncoderConfig(
  name="small_inception", width=6, image_size=16, last="max"
)


@pytest.fixture
def encoder(tmp_path):
  """The folder of a run whose encoder has random numbers."""
  rng = np.random.default_rng(0)
  shapes = encoder_file.params_of(CONFIG)
  params = jax.tree.map(lambda s: rng.random(s.shape, np.float32), shapes)
  encoder_file.write(tmp_path / encoder_file.NAME, CONFIG, params)
  return tmp_path


@pytest.fixture
def encoded(monkeypatch, tmp_path):
  """Sets data and cache; lists the numbers of pictures that are encoded."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  counts = []
  start = features.Encoder.start

  def counting(self, pixels):
    counts.append(len(pixels))
    return start(self, pixels)

  monkeypatch.setattr(features.Encoder, "start", counting)
  return counts


def use(monkeypatch, data) -> None:
  monkeypatch.setattr(experiment, "load_data", lambda config: data)


def test_table_has_each_picture_s_embedding_and_the_encoder_s_digest(
  encoder, encoded, monkeypatch, tmp_path
):
  data = toy.dataset()
  use(monkeypatch, data)
  embed_items.embed(encoder, "", tmp_path / "items.parquet")
  made = vectors.read(tmp_path / "items.parquet")
  net = backbone.make("trained", weights=str(encoder))
  pictures = images.decode_all(data.image_bytes, data.image_names, 16)
  expected = net.apply(net.params, jnp.asarray(pictures))
  assert made.keys == data.image_names
  assert (made.encoder, made.digest) == ("trained", net.digest)
  # Batches of other sizes are summed in another order.
  np.testing.assert_allclose(made.values, expected, rtol=1e-4, atol=1e-4)


def test_pictures_embedded_before_are_not_embedded_again(
  encoder, encoded, monkeypatch, tmp_path
):
  data = toy.dataset()
  few = dataclasses.replace(
    data, image_names=data.image_names[:30], image_bytes=data.image_bytes[:30]
  )
  use(monkeypatch, few)
  embed_items.embed(encoder, "", tmp_path / "few.parquet")
  assert sum(encoded) == 30
  encoded.clear()
  use(monkeypatch, data)
  embed_items.embed(encoder, "", tmp_path / "all.parquet")
  assert sum(encoded) == len(data.image_names) - 30
  old, new = (
    vectors.read(tmp_path / name) for name in ("few.parquet", "all.parquet")
  )
  np.testing.assert_array_equal(new.values[:30], old.values)


def test_row_without_a_picture_is_left_out(
  encoder, encoded, monkeypatch, tmp_path
):
  use(monkeypatch, dataclasses.replace(toy.dataset(), no_image=0))
  embed_items.embed(encoder, "", tmp_path / "items.parquet")
  made = vectors.read(tmp_path / "items.parquet")
  assert made.keys == toy.dataset().image_names[1:]


def test_folder_without_an_encoder_is_refused(tmp_path):
  with pytest.raises(errors.InputError, match="expected a trained encoder"):
    embed_items.embed(tmp_path, "", tmp_path / "items.parquet")
