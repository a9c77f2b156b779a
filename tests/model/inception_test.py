"""Inception v3 against PyTorch, block by block, in both layouts of weights."""

import functools
import pathlib

from flax import nnx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from dicm_jax import errors
from dicm_jax.model import backbone, inception, nets, weights

torch = pytest.importorskip(
  "torch", reason="the reference network is PyTorch's"
)
from tests.model import torch_inception  # noqa: E402 (it imports torch)

# float32 sums of up to 17 000 products, in another order.
RELATIVE = 1e-4
SMALL = 107  # Leaves 2 x 2 at the end.


@functools.cache
def _theirs(count_border: bool = True) -> torch_inception.InceptionV3:
  return torch_inception.InceptionV3(count_border=count_border)


def _pictures(size: int, number: int = 2) -> np.ndarray:
  return np.random.default_rng(0).integers(
    0, 256, (number, size, size, 3), dtype=np.uint8
  )


def _state() -> dict[str, np.ndarray]:
  return {k: v.numpy().copy() for k, v in _theirs().state_dict().items()}


def _write_torchvision(folder: pathlib.Path) -> pathlib.Path:
  path = folder / "inception_v3.safetensors"
  safetensors.numpy.save_file(_state(), path)
  return path


def _write_keras(folder: pathlib.Path) -> pathlib.Path:
  """The same convolutions as keras.applications stores them, without gamma.

  Counted in the order in which PyTorch registers them: both implementations
  write a block's branches down in one order.
  """
  path = folder / "inception_v3.h5"
  state = _state()
  units = [name[: -len(".conv.weight")] for name in state if ".conv." in name]
  units = [name for name in units if not name.startswith("AuxLogits")]
  with h5py.File(path, "w") as file:
    for number, unit in enumerate(units, 1):
      conv, norm = f"conv2d_{number}", f"batch_normalization_{number}"
      kernel = state[f"{unit}.conv.weight"].transpose(2, 3, 1, 0)
      file[f"{conv}/{conv}/kernel:0"] = kernel
      for keras, name in (
        ("beta", "bias"),
        ("moving_mean", "running_mean"),
        ("moving_variance", "running_var"),
      ):
        file[f"{norm}/{norm}/{keras}:0"] = state[f"{unit}.bn.{name}"]
  return path


def _without_gamma() -> torch_inception.InceptionV3:
  net = torch_inception.InceptionV3(count_border=False)
  for module in net.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
      module.weight.data.fill_(1)
  return net


def assert_same_maps(found, expected, relative=RELATIVE):
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    ours, theirs = np.asarray(found[name]), value.detach().permute(0, 2, 3, 1)
    assert ours.shape == theirs.shape, name
    error = np.abs(ours - theirs.numpy()).max() / theirs.abs().max()
    assert error < relative, f"{name}: {error}"


def _compare_frozen(net: backbone.Backbone, theirs, size: int):
  pictures = _pictures(size)

  @jax.jit
  def run(params, images):
    made = nnx.merge(net.graphdef, params)
    maps = made.maps(images)
    return maps, made(images)

  maps, pooled = run(net.params, pictures)
  with torch.no_grad():
    expected = theirs.maps(pictures)
    assert_same_maps(maps, expected)
    pooled_there = theirs.top(expected)[0].numpy()
  np.testing.assert_allclose(
    pooled, pooled_there, rtol=0, atol=RELATIVE * pooled_there.max()
  )


@pytest.mark.parametrize(
  "size", [SMALL, pytest.param(299, marks=pytest.mark.slow)]
)
def test_torchvision_weights_give_pytorchs_maps(tmp_path, size):
  path = _write_torchvision(tmp_path)
  net = backbone.make("inception_v3", weights=str(path), image_size=size)
  _compare_frozen(net, _theirs(), size)


@pytest.mark.slow
def test_keras_weights_leave_the_border_out_of_means(tmp_path):
  net = backbone.make("inception_v3", weights=str(_write_keras(tmp_path)))
  _compare_frozen(net, _without_gamma(), 299)


def test_layouts_of_equal_numbers_have_digests_of_their_own(tmp_path):
  # Their means at the border differ.
  torchvision = _write_torchvision(tmp_path)
  state = _state()
  for name in state:
    if name.endswith("bn.weight"):
      state[name] = np.ones_like(state[name])
  safetensors.numpy.save_file(state, torchvision)
  found = {
    backbone.make("inception_v3", weights=str(path)).digest
    for path in (torchvision, _write_keras(tmp_path))
  }
  assert len(found) == 2


def _count(**options) -> int:
  net = nnx.eval_shape(
    lambda: inception.InceptionV3(**options, rngs=nnx.Rngs(0))
  )
  return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(net, nnx.Param)))


def test_published_inception_has_the_known_number_of_parameters():
  # As torchvision 0.28 counts, with and without the auxiliary classifier.
  theirs = sum(p.numel() for p in _theirs().parameters())
  assert theirs == _count(classes=1000, aux_classes=1000) == 27_161_264
  theirs -= sum(p.numel() for p in _theirs().AuxLogits.parameters())
  assert theirs == _count(classes=1000) == 23_834_568
  # keras.applications without top trains 21 768 352, and has no factors.
  assert _count() == 21_768_352 + 17_216


def _trainable(path: pathlib.Path, **options):
  """Definition and parameters of a net with all of the file's numbers."""
  classes = {k: v for k, v in options.items() if k.endswith("classes")}
  layers = inception.layers(**classes)
  tensors, layout = weights.read(path, layers)
  assert layout == "torchvision"
  definition, state = nnx.split(
    nnx.eval_shape(lambda: inception.InceptionV3(**options, rngs=nnx.Rngs(0)))
  )
  params = nnx.to_pure_dict(state)
  weights.fill(params, layers, tensors)
  mean, scale = inception.INPUT
  params["normalise"] = {"mean": np.array(mean), "scale": np.array(scale)}
  return definition, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)


@pytest.mark.slow
def test_both_classifiers_equal_pytorch(tmp_path):
  definition, params = _trainable(
    _write_torchvision(tmp_path), classes=1000, aux_classes=1000
  )
  pictures = _pictures(299)

  @jax.jit
  def run(params, images):
    net = nnx.merge(definition, params)
    net.eval()
    return net.with_auxiliary(images)

  found = run(params, pictures)
  with torch.no_grad():
    maps = _theirs().maps(pictures)
    expected = _theirs().top(maps)[1], _theirs().AuxLogits(maps["Mixed_6e"])
  for ours, theirs in zip(found, expected, strict=True):
    error = np.abs(ours - theirs.numpy()).max() / theirs.abs().max()
    assert error < RELATIVE


@pytest.mark.slow
def test_training_equals_pytorch(tmp_path):
  # The last blocks have 4 pixels a picture: enough pictures keep the moments
  # well conditioned.
  pictures = _pictures(SMALL, 6)
  definition, params = _trainable(
    _write_torchvision(tmp_path), image_size=SMALL
  )

  @jax.jit
  def learn(params, images):
    def loss(params):
      net = nnx.merge(definition, params)
      maps = net.maps(images)
      return (maps["Mixed_5d"] ** 2).mean(), (maps, nets.statistics(net))

    return jax.value_and_grad(loss, has_aux=True)(params)

  (_, (maps, statistics)), gradients = learn(params, jnp.asarray(pictures))
  theirs = torch_inception.InceptionV3()
  theirs.train()
  expected = theirs.maps(pictures)
  (expected["Mixed_5d"] ** 2).mean().backward()
  # Each normalisation divides by moments of few numbers; errors grow.
  assert_same_maps(maps, expected, 1e-3)
  last = statistics["blocks"]["Mixed_7c"]["units"]["branch_pool"]["norm"]
  for ours, name in (("mean", "running_mean"), ("variance", "running_var")):
    value = getattr(theirs.Mixed_7c.branch_pool.bn, name)
    np.testing.assert_allclose(last[ours], value, rtol=1e-3, atol=1e-4)
  kernel = theirs.Conv2d_1a_3x3.conv.weight.grad.permute(2, 3, 1, 0).numpy()
  first = gradients["blocks"]["stem"]["units"]["Conv2d_1a_3x3"]["conv"]
  error = np.abs(first["kernel"] - kernel).max() / np.abs(kernel).max()
  # Numbers next to the kink of a ReLU fall on either side.
  assert error < 1e-2
  assert not gradients["normalise"]["mean"].any()


def test_too_small_pictures_are_refused():
  with pytest.raises(errors.InputError, match="at least 75; found 74"):
    backbone.make("inception_v3", image_size=74)
  with pytest.raises(
    errors.InputError, match="299 with aux_classes; found 298"
  ):
    inception.InceptionV3(image_size=298, aux_classes=2, rngs=nnx.Rngs(0))
