"""VGG16 against PyTorch, in both layouts of weights files."""

import pathlib

import h5py
import jax
import numpy as np
import pytest
import safetensors.numpy

from dicm_jax.model import backbone, vgg

torch = pytest.importorskip(
  "torch", reason="the reference network is PyTorch's"
)

# float32 sums of up to 25 088 products, in another order.
RELATIVE = 1e-4


# Output channels of each convolution; M is a 2 x 2 pool.
LAYERS = "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M"


class TorchVGG(torch.nn.Module):
  """torchvision's VGG16 as far as fc6, from its published layer list."""

  def __init__(self, image_size: int):
    super().__init__()
    steps = []
    channels = 3
    for outputs in LAYERS.split():
      if outputs == "M":
        steps.append(torch.nn.MaxPool2d(2))
      else:
        steps.append(torch.nn.Conv2d(channels, int(outputs), 3, padding=1))
        steps.append(torch.nn.ReLU())
        channels = int(outputs)
    self.features = torch.nn.Sequential(*steps)
    side = image_size // 32
    self.classifier = torch.nn.Sequential(
      torch.nn.Linear(512 * side * side, 4096)
    )
    generator = torch.Generator().manual_seed(0)
    for p in self.parameters():
      fan_in = p[0].numel() if p.ndim > 1 else 1e4
      p.data.normal_(0, (2 / fan_in) ** 0.5, generator=generator)

  def fc6(self, x: np.ndarray) -> np.ndarray:
    """Takes scaled pictures [K, H, W, 3] in the colour order of the weights."""
    with torch.no_grad():
      nchw = torch.from_numpy(x.astype(np.float32).transpose(0, 3, 1, 2).copy())
      flat = torch.flatten(self.features(nchw), 1)
      return torch.relu(self.classifier(flat)).numpy()


def _pictures(size: int) -> np.ndarray:
  return np.random.default_rng(0).integers(
    0, 256, (2, size, size, 3), dtype=np.uint8
  )


def _error(found: np.ndarray, expected: np.ndarray) -> float:
  return float(np.abs(found - expected).max() / np.abs(expected).max())


def _encode(path: pathlib.Path, size: int) -> np.ndarray:
  net = backbone.make("vgg16", weights=str(path), image_size=size)
  return np.asarray(jax.jit(net.apply)(net.params, _pictures(size)))


def _keras_tensors(net: TorchVGG, size: int) -> dict[str, np.ndarray]:
  """Renames and transposes by hand what Keras stores for the same network."""
  names = [f"block{b}_conv{i}" for b in (1, 2) for i in (1, 2)]
  names += [f"block{b}_conv{i}" for b in (3, 4, 5) for i in (1, 2, 3)]
  convs = [m for m in net.features if isinstance(m, torch.nn.Conv2d)]
  found = {}
  for name, m in zip(names, convs, strict=True):
    found[f"{name}/kernel:0"] = m.weight.detach().numpy().transpose(2, 3, 1, 0)
    found[f"{name}/bias:0"] = m.bias.detach().numpy()
  side = size // 32
  kernel = net.classifier[0].weight.detach().numpy()
  kernel = kernel.reshape(4096, 512, side, side).transpose(2, 3, 1, 0)
  found["fc1/kernel:0"] = kernel.reshape(-1, 4096)
  found["fc1/bias:0"] = net.classifier[0].bias.detach().numpy()
  return found


def _torchvision_error(size: int, folder: pathlib.Path) -> float:
  net = TorchVGG(size)
  path = folder / "vgg16.safetensors"
  safetensors.numpy.save_file(
    {k: v.numpy() for k, v in net.state_dict().items()}, path
  )
  mean = np.array([0.485, 0.456, 0.406])
  std = np.array([0.229, 0.224, 0.225])
  expected = net.fc6((_pictures(size) / 255 - mean) / std)
  return _error(_encode(path, size), expected)


def test_fc6_equals_pytorch_with_torchvision_weights(tmp_path):
  assert _torchvision_error(64, tmp_path) < RELATIVE


@pytest.mark.slow
def test_fc6_equals_pytorch_at_the_published_size(tmp_path):
  assert _torchvision_error(224, tmp_path) < RELATIVE


def test_keras_files_see_bgr_minus_mean(tmp_path):
  net = TorchVGG(64)
  tensors = _keras_tensors(net, 64)
  bgr = _pictures(64)[..., ::-1] - np.array([103.939, 116.779, 123.68])
  expected = net.fc6(bgr)
  np.savez(tmp_path / "vgg16.npz", **tensors)
  with h5py.File(tmp_path / "vgg16.h5", "w") as file:
    for name, value in tensors.items():
      layer, part = name.split("/")
      part = "W_1:0" if part == "kernel:0" else "b_1:0"
      file[f"{layer}/{layer}_{part}"] = value
  found = [_encode(tmp_path / n, 64) for n in ("vgg16.npz", "vgg16.h5")]
  assert _error(found[0], expected) < RELATIVE
  np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.slow
def test_bfloat16_stays_near_float32():
  images = _pictures(64)
  found = {}
  for dtype in ("float32", "bfloat16"):
    net = backbone.make("vgg16", weights="random", dtype=dtype, image_size=64)
    found[dtype] = np.asarray(jax.jit(net.apply)(net.params, images))
  # bfloat16 keeps 8 bits (0.4 %), and errors of 14 layers add up.
  assert 0 < _error(found["bfloat16"], found["float32"]) < 0.05


def test_published_vgg16_has_the_known_number_of_parameters():
  # 138 357 544 in all, less fc7 and fc8 (Simonyan and Zisserman, table 2).
  rest = 4096 * 4096 + 4096 + 4096 * 1000 + 1000
  counted = sum(
    int(np.prod(layer.kernel)) + layer.kernel[-1] for layer in vgg.layers()
  )
  assert counted == 138_357_544 - rest
