"""Inception v3 in PyTorch, with the names of torchvision's state dict.

Written from table 1 and figures 5 to 10 of Szegedy et al. 2015
(arXiv 1512.00567) and the shapes of torchvision's `Inception3.state_dict()`.
"""

import numpy as np
import pytest

# The search for doctests imports this file wherever tests run.
pytest.importorskip("torch", reason="needs the extra 'torch'")

import torch
from torch import nn

STEM = (  # name, inputs, outputs, side of the kernel, strides, padding
  ("Conv2d_1a_3x3", 3, 32, 3, 2, 0),
  ("Conv2d_2a_3x3", 32, 32, 3, 1, 0),
  ("Conv2d_2b_3x3", 32, 64, 3, 1, 1),
  ("Conv2d_3b_1x1", 64, 80, 1, 1, 0),
  ("Conv2d_4a_3x3", 80, 192, 3, 1, 0),
)
POOL_BEHIND = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")


class BasicConv2d(nn.Module):
  def __init__(self, inputs, outputs, side=1, stride=1, padding=0):
    super().__init__()
    self.conv = nn.Conv2d(inputs, outputs, side, stride, padding, bias=False)
    self.bn = nn.BatchNorm2d(outputs, eps=0.001)

  def forward(self, x):
    return self.bn(self.conv(x)).relu()


class Block(nn.Module):
  """Convolutions by name: (inputs, outputs, side, stride); side can be a pair.

  Those of stride 1 keep height and width, those of stride 2 are not padded.
  """

  count_border = True

  def __init__(self, **convs):
    super().__init__()
    for name, (inputs, outputs, *rest) in convs.items():
      side, stride = (*rest, 1, 1)[:2]
      pair = side if isinstance(side, tuple) else (side, side)
      padding = (0, 0) if stride == 2 else tuple(s // 2 for s in pair)
      self.add_module(name, BasicConv2d(inputs, outputs, pair, stride, padding))

  def chain(self, x, stem, *ends):
    for end in ends:
      x = getattr(self, stem + end)(x)
    return x

  def pooled(self, x):
    x = nn.functional.avg_pool2d(
      x, 3, stride=1, padding=1, count_include_pad=self.count_border
    )
    return self.branch_pool(x)


class A(Block):
  def __init__(self, n, pooled):
    super().__init__(
      branch1x1=(n, 64),
      branch5x5_1=(n, 48),
      branch5x5_2=(48, 64, 5),
      branch3x3dbl_1=(n, 64),
      branch3x3dbl_2=(64, 96, 3),
      branch3x3dbl_3=(96, 96, 3),
      branch_pool=(n, pooled),
    )

  def forward(self, x):
    five = self.chain(x, "branch5x5", "_1", "_2")
    three = self.chain(x, "branch3x3dbl", "_1", "_2", "_3")
    return torch.cat([self.branch1x1(x), five, three, self.pooled(x)], 1)


class B(Block):
  def __init__(self, n):
    super().__init__(
      branch3x3=(n, 384, 3, 2),
      branch3x3dbl_1=(n, 64),
      branch3x3dbl_2=(64, 96, 3),
      branch3x3dbl_3=(96, 96, 3, 2),
    )

  def forward(self, x):
    double = self.chain(x, "branch3x3dbl", "_1", "_2", "_3")
    pooled = nn.functional.max_pool2d(x, 3, 2)
    return torch.cat([self.branch3x3(x), double, pooled], 1)


class C(Block):
  def __init__(self, n, inner):
    super().__init__(
      branch1x1=(n, 192),
      branch7x7_1=(n, inner),
      branch7x7_2=(inner, inner, (1, 7)),
      branch7x7_3=(inner, 192, (7, 1)),
      branch7x7dbl_1=(n, inner),
      branch7x7dbl_2=(inner, inner, (7, 1)),
      branch7x7dbl_3=(inner, inner, (1, 7)),
      branch7x7dbl_4=(inner, inner, (7, 1)),
      branch7x7dbl_5=(inner, 192, (1, 7)),
      branch_pool=(n, 192),
    )

  def forward(self, x):
    seven = self.chain(x, "branch7x7", "_1", "_2", "_3")
    double = self.chain(x, "branch7x7dbl", "_1", "_2", "_3", "_4", "_5")
    return torch.cat([self.branch1x1(x), seven, double, self.pooled(x)], 1)


class D(Block):
  def __init__(self, n):
    super().__init__(
      branch3x3_1=(n, 192),
      branch3x3_2=(192, 320, 3, 2),
      branch7x7x3_1=(n, 192),
      branch7x7x3_2=(192, 192, (1, 7)),
      branch7x7x3_3=(192, 192, (7, 1)),
      branch7x7x3_4=(192, 192, 3, 2),
    )

  def forward(self, x):
    three = self.chain(x, "branch3x3", "_1", "_2")
    seven = self.chain(x, "branch7x7x3", "_1", "_2", "_3", "_4")
    return torch.cat([three, seven, nn.functional.max_pool2d(x, 3, 2)], 1)


class E(Block):
  def __init__(self, n):
    super().__init__(
      branch1x1=(n, 320),
      branch3x3_1=(n, 384),
      branch3x3_2a=(384, 384, (1, 3)),
      branch3x3_2b=(384, 384, (3, 1)),
      branch3x3dbl_1=(n, 448),
      branch3x3dbl_2=(448, 384, 3),
      branch3x3dbl_3a=(384, 384, (1, 3)),
      branch3x3dbl_3b=(384, 384, (3, 1)),
      branch_pool=(n, 192),
    )

  def forward(self, x):
    y = self.branch3x3_1(x)
    z = self.chain(x, "branch3x3dbl", "_1", "_2")
    parts = [self.branch1x1(x), self.branch3x3_2a(y), self.branch3x3_2b(y)]
    parts += [self.branch3x3dbl_3a(z), self.branch3x3dbl_3b(z), self.pooled(x)]
    return torch.cat(parts, 1)


class Auxiliary(nn.Module):
  def __init__(self, classes):
    super().__init__()
    self.conv0 = BasicConv2d(768, 128)
    self.conv1 = BasicConv2d(128, 768, 5)
    self.fc = nn.Linear(768, classes)

  def forward(self, x):
    x = nn.functional.avg_pool2d(x, 5, 3)
    return self.fc(self.conv1(self.conv0(x)).mean((2, 3)))


class InceptionV3(nn.Module):
  """Random numbers everywhere, in the running averages too.

  Args:
    classes: of both classifiers.
    aux: whether there is the auxiliary one.
    count_border: True as torchvision, False as Keras.
  """

  def __init__(self, *, classes=1000, aux=True, count_border=True):
    super().__init__()
    for name, *shape in STEM:
      self.add_module(name, BasicConv2d(*shape))
    self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = (
      A(192, 32),
      A(256, 64),
      A(288, 64),
    )
    self.Mixed_6a = B(288)
    self.Mixed_6b, self.Mixed_6c = C(768, 128), C(768, 160)
    self.Mixed_6d, self.Mixed_6e = C(768, 160), C(768, 192)
    if aux:
      self.AuxLogits = Auxiliary(classes)
    self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = D(768), E(1280), E(2048)
    self.fc = nn.Linear(2048, classes)
    for module in self.modules():
      if isinstance(module, Block):
        module.count_border = count_border
    self.draw()
    self.eval()

  def draw(self):
    generator = torch.Generator().manual_seed(0)
    for name, value in self.state_dict().items():
      if value.ndim > 1:
        std = (2 / value[0].numel()) ** 0.5
        value.normal_(0, std, generator=generator)
      elif name.endswith(("bn.weight", "running_var")):
        value.uniform_(0.5, 1.5, generator=generator)
      elif value.is_floating_point():
        value.normal_(0, 0.1, generator=generator)

  def maps(self, pictures: np.ndarray) -> dict[str, torch.Tensor]:
    """Takes uint8 [K, H, W, 3]; output of stem and blocks [K, C, h, w]."""
    x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32))
    x = x / 127.5 - 1
    for name, *_ in STEM:
      x = getattr(self, name)(x)
      if name in POOL_BEHIND:
        x = nn.functional.max_pool2d(x, 3, 2)
    found = {"stem": x}
    for name, block in self.named_children():
      if name.startswith("Mixed"):
        found[name] = x = block(x)
    return found

  def top(self, maps) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled features and their logits."""
    pooled = maps["Mixed_7c"].mean((2, 3))
    return pooled, self.fc(pooled)
