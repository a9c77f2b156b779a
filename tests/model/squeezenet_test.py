"""SqueezeNet against NumPy, and what its training is worth on photographs."""

import csv
import importlib.resources
import pathlib

import h5py
import jax
import numpy as np
import pytest

from dicm_jax.data import images
from dicm_jax.model import backbone

CLOTHING = pathlib.Path(str(importlib.resources.files("dicm_jax.data"))) / (
  "clothing"
)
SQUEEZENET = importlib.resources.files("dicm_jax.model") / (
  "pretrained/squeezenet1_1_notop.h5"
)


def _patches(x: np.ndarray, side: int, step: int) -> np.ndarray:
  """Returns [K, H', W', C, side, side], without padding."""
  windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))
  return windows[:, ::step, ::step]


def _numpy_squeezenet(rgb: np.ndarray) -> np.ndarray:
  """Follows github.com/rcmalli/keras-squeezenet layer by layer."""
  with h5py.File(str(SQUEEZENET)) as file:
    tensors: dict[str, np.ndarray] = {}
    file.visititems(
      lambda name, item: (
        tensors.update({name: item[...]})
        if isinstance(item, h5py.Dataset)
        else None
      )
    )

  def conv(x, layer, step=1, pad=0):
    (kernel,) = (
      v for n, v in tensors.items() if n.startswith(layer) and v.ndim == 4
    )
    (bias,) = (
      v for n, v in tensors.items() if n.startswith(layer) and v.ndim == 1
    )
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    seen = _patches(x, len(kernel), step)
    found = np.einsum("khwcij,ijco->khwo", seen, kernel, optimize=True)
    return np.maximum(found + bias, 0)

  x = rgb[..., ::-1].astype(np.float32) - np.float32([104, 117, 123])
  x = conv(x, "conv1", step=2)
  for fire in range(2, 10):
    if fire in (2, 4, 6):
      x = _patches(x, 3, 2).max((-1, -2))
    x = conv(x, f"fire{fire}/squeeze1x1")
    wide = conv(x, f"fire{fire}/expand3x3", pad=1)
    x = np.concatenate([conv(x, f"fire{fire}/expand1x1"), wide], -1)
  return x.mean((1, 2))


def test_squeezenet_equals_numpy():
  net = backbone.make("squeezenet")
  pictures = np.random.default_rng(0).integers(
    0, 256, (2, 227, 227, 3), dtype=np.uint8
  )
  found = np.asarray(jax.jit(net.apply)(net.params, pictures))
  expected = _numpy_squeezenet(pictures)
  assert found.shape == (2, net.width)
  # float32 sums of up to 576 products, in another order, through 18 layers.
  np.testing.assert_allclose(
    found, expected, rtol=1e-4, atol=1e-4 * expected.max()
  )


def _neighbour_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
  """Leave-one-out: how often the nearest other photograph has the class."""
  unit = features / np.linalg.norm(features, axis=1, keepdims=True)
  likeness = unit @ unit.T
  np.fill_diagonal(likeness, -1)
  return float((labels[likeness.argmax(1)] == labels).mean())


@pytest.mark.slow
def test_pretrained_weights_tell_classes_apart_better_than_random_ones(capsys):
  if not (CLOTHING / "images.csv").is_file():
    pytest.skip("the photographs are not installed")
  with (CLOTHING / "images.csv").open() as file:
    rows = list(csv.DictReader(file))
  rows = rows[:: max(1, len(rows) // 200)]
  names = [row["image"] for row in rows]
  labels = np.array([row["category"] for row in rows])
  data = [(CLOTHING / name).read_bytes() for name in names]
  pictures = images.decode_all(data, names, 227)
  accuracy = {}
  for weights in ("", "random"):
    net = backbone.make("squeezenet", weights=weights)
    apply = jax.jit(net.apply)
    parts = [
      apply(net.params, pictures[i : i + 20])
      for i in range(0, len(pictures), 20)
    ]
    accuracy[weights] = _neighbour_accuracy(np.concatenate(parts), labels)
  with capsys.disabled():
    print(
      f"\nnearest neighbour of {len(labels)} photographs, 10 classes:"
      f" ImageNet weights {accuracy['']:.3f}, random {accuracy['random']:.3f}"
    )
  assert accuracy[""] > accuracy["random"] + 0.2
  assert accuracy[""] > 0.5
