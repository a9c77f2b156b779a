"""VGG16 against PyTorch, in both layouts of weights files."""

import functools
import hashlib
import pathlib

import h5py
import jax
import numpy as np
import pytest
import safetensors.numpy

from dicm_jax import errors
from dicm_jax.model import backbone, vgg

torch = pytest.importorskip(
  "torch", reason="the reference network is PyTorch's"
)

# float32 sums of up to 25 088 products, in another order.
RELATIVE = 1e-4


# Output channels of each convolution; M is a 2 x 2 pool.
LAYERS = "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M"
# How far through `classifier` each cut goes: ReLU and dropout stand between.
STEPS = {"conv5": 0, "fc6": 2, "fc7": 5, "fc8": 7}


class TorchVGG(torch.nn.Module):
  """torchvision's VGG16, from its published layer list."""

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
      torch.nn.Linear(512 * side * side, 4096),
      torch.nn.ReLU(),
      torch.nn.Dropout(),
      torch.nn.Linear(4096, 4096),
      torch.nn.ReLU(),
      torch.nn.Dropout(),
      torch.nn.Linear(4096, 1000),
    )
    generator = torch.Generator().manual_seed(0)
    for p in self.parameters():
      fan_in = p[0].numel() if p.ndim > 1 else 1e4
      p.data.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
    self.eval()  # Dropout passes everything.

  def upto(self, cut: str, x: np.ndarray) -> np.ndarray:
    """Takes scaled pictures [K, H, W, 3] in the colour order of the weights."""
    with torch.no_grad():
      nchw = torch.from_numpy(x.astype(np.float32).transpose(0, 3, 1, 2).copy())
      pooled = self.features(nchw)
      if cut == "conv5":  # Ours has the channels last.
        return pooled.permute(0, 2, 3, 1).flatten(1).numpy()
      flat = torch.flatten(pooled, 1)
      return self.classifier[: STEPS[cut]](flat).numpy()


@functools.cache
def _net(size: int) -> TorchVGG:
  return TorchVGG(size)


def _pictures(size: int) -> np.ndarray:
  return np.random.default_rng(0).integers(
    0, 256, (2, size, size, 3), dtype=np.uint8
  )


def _error(found: np.ndarray, expected: np.ndarray) -> float:
  return float(np.abs(found - expected).max() / np.abs(expected).max())


def _encode(path: pathlib.Path, size: int, cut: str = "fc6") -> np.ndarray:
  net = backbone.make("vgg16", cut=cut, weights=str(path), image_size=size)
  return np.asarray(jax.jit(net.apply)(net.params, _pictures(size)))


def _keras_tensors(
  net: TorchVGG, size: int, cut: str = "fc8"
) -> dict[str, np.ndarray]:
  """Renames and transposes by hand what Keras stores for the same network."""
  names = [f"block{b}_conv{i}" for b in (1, 2) for i in (1, 2)]
  names += [f"block{b}_conv{i}" for b in (3, 4, 5) for i in (1, 2, 3)]
  convs = [m for m in net.features if isinstance(m, torch.nn.Conv2d)]
  found = {}
  for name, m in zip(names, convs, strict=True):
    found[f"{name}/kernel:0"] = m.weight.detach().numpy().transpose(2, 3, 1, 0)
    found[f"{name}/bias:0"] = m.bias.detach().numpy()
  side = size // 32
  for name, place in (("fc1", 0), ("fc2", 3), ("predictions", 6)):
    if place >= STEPS[cut]:
      break
    kernel = net.classifier[place].weight.detach().numpy()
    if name == "fc1":
      kernel = kernel.reshape(4096, 512, side, side).transpose(0, 2, 3, 1)
    found[f"{name}/kernel:0"] = kernel.reshape(len(kernel), -1).T
    found[f"{name}/bias:0"] = net.classifier[place].bias.detach().numpy()
  return found


def _write_torchvision(size: int, folder: pathlib.Path) -> pathlib.Path:
  path = folder / "vgg16.safetensors"
  safetensors.numpy.save_file(
    {k: v.numpy() for k, v in _net(size).state_dict().items()}, path
  )
  return path


def _torchvision_error(size: int, folder: pathlib.Path, cut: str) -> float:
  path = _write_torchvision(size, folder)
  mean = np.array([0.485, 0.456, 0.406])
  std = np.array([0.229, 0.224, 0.225])
  expected = _net(size).upto(cut, (_pictures(size) / 255 - mean) / std)
  found = _encode(path, size, cut)
  assert found.shape == expected.shape
  assert (found.min() < 0) == (cut == "fc8")  # Logits have no ReLU.
  return _error(found, expected)


@pytest.mark.parametrize("cut", vgg.CUTS)
def test_cuts_equal_pytorch_with_torchvision_weights(tmp_path, cut):
  assert _torchvision_error(64, tmp_path, cut) < RELATIVE


@pytest.mark.slow
@pytest.mark.parametrize("cut", vgg.CUTS)
def test_cuts_equal_pytorch_at_the_published_size(tmp_path, cut):
  assert _torchvision_error(224, tmp_path, cut) < RELATIVE


@pytest.mark.parametrize("cut", vgg.CUTS)
def test_keras_files_see_bgr_minus_mean(tmp_path, cut):
  net = _net(64)
  tensors = _keras_tensors(net, 64, cut)  # No layer above the cut.
  bgr = _pictures(64)[..., ::-1] - np.array([103.939, 116.779, 123.68])
  expected = net.upto(cut, bgr)
  np.savez(tmp_path / "vgg16.npz", **tensors)
  with h5py.File(tmp_path / "vgg16.h5", "w") as file:
    for name, value in tensors.items():
      layer, part = name.split("/")
      part = "W_1:0" if part == "kernel:0" else "b_1:0"
      file[f"{layer}/{layer}_{part}"] = value
  found = [_encode(tmp_path / n, 64, cut) for n in ("vgg16.npz", "vgg16.h5")]
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
  # Simonyan and Zisserman, table 2, network D.
  counted = {
    cut: sum(
      int(np.prod(layer.kernel)) + layer.kernel[-1]
      for layer in vgg.layers(cut=cut)
    )
    for cut in vgg.CUTS
  }
  fc6, fc7, fc8 = (25088 + 1) * 4096, (4096 + 1) * 4096, (4096 + 1) * 1000
  assert counted["fc8"] == 138_357_544
  assert counted["fc7"] == counted["fc8"] - fc8
  assert counted["fc6"] == counted["fc7"] - fc7
  assert counted["conv5"] == counted["fc6"] - fc6


def test_layer_missing_below_the_cut_is_named(tmp_path):
  np.savez(tmp_path / "vgg16.npz", **_keras_tensors(_net(32), 32, "fc6"))
  with pytest.raises(errors.InputError) as caught:
    _encode(tmp_path / "vgg16.npz", 32, "fc7")
  assert "expected tensor 'fc2/kernel' of shape [4096, 4096]" in str(
    caught.value
  )


def test_default_cut_keeps_the_digest_from_before_there_were_cuts(tmp_path):
  net = backbone.make(
    "vgg16", weights=str(_write_torchvision(32, tmp_path)), image_size=32
  )
  numbers = hashlib.sha256()
  convs, fc6 = net.params["convs"], net.params["dense"]["fc6"]
  layers = [*(convs[name] for name in sorted(convs)), fc6]
  for array in (
    a for layer in layers for a in (layer["bias"], layer["kernel"])
  ):
    numbers.update(np.ascontiguousarray(array).tobytes())
  for name in ("mean", "scale"):
    numbers.update(np.asarray(net.params["normalise"][name]).tobytes())
  key = f"vgg16 32 float32 1 {numbers.hexdigest()}"
  assert net.digest == hashlib.sha256(key.encode()).hexdigest()


@pytest.mark.parametrize("weights", ["random", "file"])
def test_each_cut_has_a_digest_of_its_own_and_a_notice(tmp_path, weights):
  if weights == "file":
    weights = str(_write_torchvision(32, tmp_path))
  nets = {
    cut: backbone.make("vgg16", cut=cut, weights=weights, image_size=32)
    for cut in ("", *vgg.CUTS)
  }
  assert len({net.digest for net in nets.values()}) == len(vgg.CUTS)
  assert nets[""].digest == nets["fc6"].digest
  assert nets[""].cut == "fc6"
  assert nets["fc7"].notice.startswith("vgg16 to fc7: ")
  assert nets["fc6"].notice.startswith("vgg16: ")
