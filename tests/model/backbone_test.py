"""The table of encoders: names, digests, notices, use inside jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.model import backbone, download

SMALL = 64


def _squeezenet(**changes) -> backbone.Backbone:
  return backbone.make(
    "squeezenet", **{"weights": "random", "image_size": SMALL} | changes
  )


@pytest.mark.parametrize("name", sorted(backbone.BACKBONES))
def test_spec_tells_the_width_and_every_tensor(name):
  net = backbone.make(name, weights="random", image_size=SMALL)
  shape = jax.eval_shape(
    net.apply, net.params, jax.ShapeDtypeStruct((3, SMALL, SMALL, 3), "uint8")
  )
  assert shape.shape == (3, backbone.BACKBONES[name].width)
  assert shape.dtype == jnp.float32
  layers = backbone.BACKBONES[name].layers(SMALL)
  # Each layer has a kernel and a bias; the input scaling adds two arrays.
  assert len(jax.tree.leaves(net.params)) == 2 * len(layers) + 2


def test_unknown_name_suggests_the_nearest():
  with pytest.raises(errors.InputError, match="did you mean 'vgg16'"):
    backbone.make("vgg61")


def test_unknown_dtype_and_tiny_pictures_are_refused():
  with pytest.raises(errors.InputError, match="bfloat61"):
    _squeezenet(dtype="bfloat61")
  with pytest.raises(errors.InputError, match="at least 32; found 16"):
    _squeezenet(image_size=16)


def test_digest_changes_with_all_that_changes_features():
  one = _squeezenet()
  assert one.digest == _squeezenet().digest
  others = [
    _squeezenet(seed=1),
    _squeezenet(weights=""),
    _squeezenet(dtype="bfloat16"),
    _squeezenet(image_size=96),
  ]
  assert len({net.digest for net in [one, *others]}) == 5


def test_equal_weights_in_another_file_have_an_equal_digest(tmp_path):
  bundled = _squeezenet(weights="")
  tensors = {}
  for layer in backbone.BACKBONES["squeezenet"].layers(SMALL):
    place = bundled.params
    for key in layer.path:
      place = place[key]
    kernel = np.asarray(place["kernel"])
    if layer.sees_image:
      kernel = kernel[:, :, ::-1]
    tensors[f"{layer.keras}/kernel"] = kernel
    tensors[f"{layer.keras}/bias"] = np.asarray(place["bias"])
  np.savez(tmp_path / "mine.npz", **tensors)
  mine = _squeezenet(weights=str(tmp_path / "mine.npz"))
  assert mine.digest == bundled.digest
  assert mine.notice == "squeezenet: weights from mine.npz (keras layout)"


def test_notices_tell_trained_from_random():
  assert "bundled ImageNet" in _squeezenet(weights="").notice
  vgg = backbone.make("vgg16", image_size=32, seed=7)
  assert vgg.notice.startswith("vgg16: RANDOM WEIGHTS (seed 7)")


def test_download_is_for_what_is_not_bundled(monkeypatch, tmp_path):
  with pytest.raises(errors.InputError, match="bundled"):
    _squeezenet(weights="download")
  asked = []

  def fetch(source, folder):
    asked.append((source.url, folder))
    return tmp_path / "none.h5"

  monkeypatch.setattr(download, "fetch", fetch)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  with pytest.raises(errors.InputError, match="no such weights file"):
    backbone.make("vgg16", weights="download")
  ((url, folder),) = asked
  assert url.startswith("https://")
  assert folder == tmp_path / "dicm_jax"
