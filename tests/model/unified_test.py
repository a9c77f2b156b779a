"""The unified net against loops in NumPy, and what learns from what."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax.model import layers, loss, nets, structures
from tests.model import hand_made
from tests.model.hand_made import GROUP, LENGTHS

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
"""Sums of some ten float32 products in another order."""
LABELS = jnp.asarray([1.0, 0, 0, 1, 1, 0])
STORED = {"images": "both", "image_widths": (), "frozen_width": 5}


def unified(structure: str, **overrides):
  config = hand_made.config(
    "unified", structure=structure, id_width=1, **(STORED | overrides)
  )
  return config, hand_made.net(config)


def given(config):
  """Vectors of ids and images, and the samples."""
  return *hand_made.vectors(config), hand_made.inputs()


def logits_of_ids(net, config) -> np.ndarray:
  return np.asarray(net.lr(*given(config)))


def embeddings(pictures, inputs, sample: int, columns: slice = np.s_[:]):
  """x and y of a sample: the mean of the behaviours, and the ad's."""
  past = hand_made.entries(inputs.behaviours, GROUP[sample])
  vectors = [pictures[place, columns] for place, _ in past]
  y = pictures[inputs.ad_image[sample], columns]
  return np.mean(vectors, axis=0) if vectors else 0 * y, y


def prelu(x, layer):
  return np.where(x > 0, x, np.asarray(layer.slope[...]) * x)


def dense(x, layer):
  bias = 0 if layer.bias is None else np.asarray(layer.bias[...])
  return x @ np.asarray(layer.kernel[...]) + bias


def dnn_by_hand(net: structures.DNN, x, y):
  out = prelu(dense(x, net.of_x) + dense(y, net.of_y), net.activation)
  *hidden, last = net.rest.linear
  for layer, activation in zip(hidden, net.rest.activations, strict=True):
    out = prelu(dense(out, layer), activation)
  assert len(out) == structures.DNN.FEATURES
  return dense(out, last)[0]


BY_HAND = {
  "dot": lambda net, x, y: dense(np.array([x @ y]), net.weigh)[0],
  "product": lambda net, x, y: dense(x * y, net.weigh)[0],
  "dnn": dnn_by_hand,
}


@pytest.mark.parametrize("structure", structures.STRUCTURES)
def test_structure_equals_a_loop_over_samples(structure):
  config, net = unified(structure)
  _, pictures, inputs = jax.device_get(given(config))
  found = np.asarray(net(*given(config))) - logits_of_ids(net, config)
  assert 0 in np.array(LENGTHS)[GROUP]  # A history is empty.
  for sample, logit in enumerate(found):
    x, y = embeddings(pictures, inputs, sample)
    expected = BY_HAND[structure](net.module, x, y)
    np.testing.assert_allclose(logit, expected, **CLOSE)


def test_embeddings_are_all_that_owners_return():
  """By separate networks, behaviours' numbers come before the ads'."""
  config, net = unified("dot", image_widths=(3,), image_nets="separate")
  _, pictures, inputs = jax.device_get(given(config))
  found = np.asarray(net(*given(config))) - logits_of_ids(net, config)
  for sample, logit in enumerate(found):
    x, _ = embeddings(pictures, inputs, sample, np.r_[0:3, 6:11])
    _, y = embeddings(pictures, inputs, sample, np.r_[3:6, 6:11])
    expected = BY_HAND["dot"](net.module, x, y)
    np.testing.assert_allclose(logit, expected, **CLOSE)


def test_user_without_behaviours_is_all_zeros():
  config, net = unified("product")
  logits = net(*given(config)) - logits_of_ids(net, config)
  empty = np.array(LENGTHS)[GROUP] == 0
  bias = float(net.module.weigh.bias[...][0])
  np.testing.assert_allclose(logits[empty], bias, **CLOSE)
  assert np.abs(logits[~empty] - bias).min() > 1e-3


def test_without_images_it_is_the_lr_alone():
  config = hand_made.config("unified", id_width=1)
  made = hand_made.net(config)
  lr = hand_made.net(hand_made.config("lr", id_width=1))
  params = nnx.to_pure_dict(nnx.state(made))
  assert params.keys() == {"lr"}
  jax.tree.map(
    np.testing.assert_array_equal,
    params["lr"],
    nnx.to_pure_dict(nnx.state(lr)),
  )
  np.testing.assert_array_equal(made(*given(config)), lr(*given(config)))


@pytest.mark.parametrize("structure", ["dot", "product"])
def test_linear_module_says_nothing_at_first(structure):
  config = hand_made.config("unified", **STORED)
  _, pictures, inputs = given(config)
  made = structures.STRUCTURES[structure](5, rngs=nnx.Rngs(0))
  logits = made(pictures, pictures, inputs.group, inputs.ad_image)
  np.testing.assert_array_equal(logits, np.zeros(len(GROUP)))


def gradients(config, net):
  """Gradients of the net's parameters and of the ids' weights."""
  definition, params = nnx.split(net)
  ids, pictures, inputs = given(config)

  def total(params, ids):
    heads = nets.heads(nnx.merge(definition, params), ids, pictures, inputs)
    return loss.of_heads(heads, LABELS).sum()

  params, ids = jax.grad(total, argnums=(0, 1))(params, ids)
  return nnx.to_pure_dict(params), ids


def gradients_with_offset(part, apply, offset):
  """Gradients of one part whose logits get a given number each."""
  definition, params = nnx.split(part)

  def total(params):
    logits = apply(nnx.merge(definition, params)) + offset
    return loss.log_loss(logits, LABELS).sum()

  return nnx.to_pure_dict(jax.grad(total)(params))


def assert_close(found, expected):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), found, expected
  )


def furthest(found, expected) -> float:
  return max(
    float(np.abs(a - b).max())
    for a, b in zip(
      jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    )
  )


@pytest.mark.parametrize("structure", structures.STRUCTURES)
def test_module_learns_beside_the_lr_jointly_and_alone_apart(structure):
  """Jointly the LR's logit is its offset; apart it has none."""
  config, joint = unified(structure)
  config_apart, apart = unified(structure, training="apart")
  of_ids = logits_of_ids(joint, config)

  def logits(module):
    _, _, inputs = given(config)
    x, y = joint._embeddings(*given(config)[1:])
    return module(x, y, inputs.group, inputs.ad_image)

  beside = gradients_with_offset(joint.module, logits, of_ids)
  alone = gradients_with_offset(joint.module, logits, 0)
  assert furthest(beside, alone) > 0.01
  assert_close(gradients(config, joint)[0]["module"], beside)
  assert_close(gradients(config_apart, apart)[0]["module"], alone)


@pytest.mark.parametrize("training", ["joint", "apart"])
def test_lr_learns_with_the_modules_logit_as_an_offset(training):
  config, net = unified("product", training=training)
  offset = np.asarray(net(*given(config))) - logits_of_ids(net, config)
  expected = gradients_with_offset(
    net.lr, lambda lr: lr(*given(config)), offset
  )
  found, ids = gradients(config, net)
  assert_close(found["lr"], expected)
  assert np.abs(ids).max() > 0.01


def test_apart_predicts_and_reports_what_joint_would():
  config, joint = unified("dnn")
  config_apart, apart = unified("dnn", training="apart")
  heads = nets.heads(apart, *given(config_apart))
  (head,) = nets.heads(joint, *given(config))
  assert len(heads) == 2
  np.testing.assert_array_equal(heads[0], head)
  np.testing.assert_array_equal(heads[0], apart(*given(config)))
  np.testing.assert_array_equal(
    loss.of_heads(heads, LABELS), loss.log_loss(head, LABELS)
  )


def test_other_nets_have_one_head():
  config = hand_made.config("dicm")
  net = hand_made.net(config)
  (head,) = nets.heads(net, *given(config))
  np.testing.assert_array_equal(head, net(*given(config)))


def test_unit_vectors_have_length_one_or_none():
  found = layers.unit(jnp.array([[3.0, 4.0], [0.0, 0.0], [1e-3, 0.0]]))
  expected = [[0.6, 0.8], [0, 0], [1, 0]]
  # Rounding of 32 bits.
  np.testing.assert_allclose(found, expected, rtol=1e-6)
