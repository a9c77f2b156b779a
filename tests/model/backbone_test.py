"""The table of encoders: names, digests, notices, use inside jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.model import backbone, download, weights

SMALL = 64
# Of the default cuts, from before there were others.
BUNDLED_DIGEST = (
  "82d2f92d4c50e2647f63a0854b776f8f4e43d4c71b4a0ea80e502dce4beefa8a"
)
RANDOM_VGG_DIGEST = (
  "d4862c78ba6ee37486e498ea838cd22c43f832e3b52dbbe388d112b1ed1d1937"
)


def _squeezenet(**changes) -> backbone.Backbone:
  return backbone.make(
    "squeezenet", **{"weights": "random", "image_size": SMALL} | changes
  )


@pytest.mark.parametrize(
  ("name", "cut"),
  [(name, c) for name, spec in backbone.BACKBONES.items() for c in spec.cuts],
)
def test_spec_tells_the_width_and_every_tensor(name, cut):
  spec = backbone.BACKBONES[name]
  size = max(SMALL, spec.min_image_size)
  net = backbone.make(name, cut=cut, weights="random", image_size=size)
  shape = jax.eval_shape(
    net.apply, net.params, jax.ShapeDtypeStruct((3, size, size, 3), "uint8")
  )
  part = spec.cuts[cut]
  assert shape.shape == (3, net.width) == (3, part.width(size))
  assert shape.dtype == jnp.float32
  arrays = sum(
    4 if isinstance(layer, weights.Norm) else 1 + layer.bias
    for layer in part.layers(size)
  )
  # The input scaling adds two.
  assert len(jax.tree.leaves(net.params)) == arrays + 2


def test_unknown_name_suggests_the_nearest():
  with pytest.raises(errors.InputError, match="did you mean 'vgg16'"):
    backbone.make("vgg61")


def test_unknown_cut_suggests_the_nearest():
  with pytest.raises(errors.InputError) as caught:
    backbone.make("vgg16", cut="conv4")
  assert "cut of vgg16 'conv4'; did you mean 'conv5'?" in str(caught.value)
  with pytest.raises(errors.InputError, match="known: fire9"):
    _squeezenet(cut="fc6")


def test_digests_are_those_that_caches_were_made_with():
  found = [
    backbone.make("squeezenet").digest,
    backbone.make("squeezenet", cut="fire9").digest,
    backbone.make("vgg16", weights="random", image_size=32).digest,
  ]
  assert found == [BUNDLED_DIGEST, BUNDLED_DIGEST, RANDOM_VGG_DIGEST]


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
  for layer in backbone.BACKBONES["squeezenet"].cuts["fire9"].layers(SMALL):
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
