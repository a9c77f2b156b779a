"""Inception v3 as an encoder that pairwise training changes."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from dicm_jax import errors
from dicm_jax.model import encoder_file, encoders, inception
from dicm_jax.model import weights as weights_lib
from dicm_jax.pairwise import first_weights
from tests.pairwise import runs

SIZE = 75


def config(**overrides) -> encoders.EncoderConfig:
  values = {"name": "inception_v3", "width": 6, "image_size": SIZE}
  return encoders.EncoderConfig(**values | {"last": "strided"} | overrides)


@pytest.mark.parametrize("last", encoders.LASTS)
@pytest.mark.parametrize("size", [75, 130, 299])
def test_any_size_becomes_an_embedding(size, last):
  def embed():
    given = config(image_size=size, last=last)
    net = encoders.make(given, rngs=nnx.Rngs(0))
    return net(jnp.zeros((2, size, size, 3), "uint8"))

  found = jax.eval_shape(embed)
  assert (found.shape, found.dtype) == ((2, 6), jnp.float32)


def torchvision_file(folder):
  """Random weights as torchvision stores them."""
  rng, out = np.random.default_rng(0), {}
  for layer in inception.layers():
    if isinstance(layer, weights_lib.Norm):
      for name in ("weight", "bias", "running_mean", "running_var"):
        values = rng.random(layer.channels, np.float32)
        out[f"{layer.torch}.{name}"] = values
    else:
      height, width, inputs, outputs = layer.kernel
      kernel = rng.random((outputs, inputs, height, width), np.float32)
      out[f"{layer.torch}.weight"] = kernel
  path = folder / "inception.safetensors"
  safetensors.numpy.save_file(out, path)
  return path, out


def zeros():
  shapes = encoder_file.params_of(config())
  return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def test_its_body_begins_with_a_files_weights(tmp_path):
  path, given = torchvision_file(tmp_path)
  made = first_weights.fill(config(), str(path), zeros())
  last = made["body"]["blocks"]["Mixed_7c"]["units"]["branch_pool"]
  kernel = given["Mixed_7c.branch_pool.conv.weight"]
  np.testing.assert_array_equal(
    last["conv"]["kernel"], kernel.transpose(2, 3, 1, 0)
  )
  np.testing.assert_array_equal(
    last["norm"]["mean"], given["Mixed_7c.branch_pool.bn.running_mean"]
  )
  assert not made["head"]["kernel"].any()


def test_weights_that_do_not_fit_are_named(tmp_path):
  small = config(name="small_inception")
  with pytest.raises(errors.InputError, match="encoder_weights: expected ''"):
    first_weights.fill(small, "file.h5", zeros())
  with pytest.raises(errors.InputError, match=r"gone\.h5"):
    first_weights.fill(config(), str(tmp_path / "gone.h5"), zeros())


@pytest.mark.slow
def test_it_trains_and_its_file_is_a_backbone(tmp_path):
  path, _ = torchvision_file(tmp_path)
  made = runs.build(
    encoder__name="inception_v3",
    encoder__image_size=SIZE,
    encoder_weights=str(path),
    train__batch_size=4,
    pairs__shift=0,
  )
  first = jax.tree.map(np.asarray, made.state.encoder)
  state, losses = runs.run(made, 2)
  assert np.isfinite(losses).all()
  for name in ("body", "narrow", "last", "head"):
    pairs = zip(
      *map(jax.tree.leaves, (first[name], state.encoder[name])), strict=True
    )
    assert any(not np.array_equal(a, b) for a, b in pairs), name
  scaling = [s["body"]["normalise"]["mean"] for s in (first, state.encoder)]
  np.testing.assert_array_equal(*scaling)
  made.finish(state, tmp_path)
  shape, params = encoder_file.read(tmp_path)
  assert shape.name == "inception_v3"
  np.testing.assert_array_equal(
    params["head"]["kernel"], state.encoder["head"]["kernel"]
  )
