"""PyTorch's layers with our parameters, and our dense optimiser in PyTorch."""

from collections.abc import Iterable, Mapping
import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional

THREADS = 2
"""As many as XLA takes on the machine of docs/benchmarks.md."""


def start() -> None:
  """As many threads as XLA, and numbers next to 0 taken as 0, as XLA does."""
  torch.set_num_threads(THREADS)
  torch.set_flush_denormal(True)


def tensor(array) -> torch.Tensor:
  """A copy of any array."""
  return torch.tensor(np.asarray(array))


def linear(params: Mapping) -> nn.Linear:
  """A layer with a kernel [in, out] of ours and its bias, if any."""
  kernel = tensor(params["kernel"]).T.contiguous()
  made = nn.Linear(kernel.shape[1], kernel.shape[0], bias="bias" in params)
  with torch.no_grad():
    made.weight.copy_(kernel)
    if "bias" in params:
      made.bias.copy_(tensor(params["bias"]))
  return made


def prelu(params: Mapping) -> nn.PReLU:
  slope = tensor(params["slope"])
  made = nn.PReLU(len(slope))
  with torch.no_grad():
    made.weight.copy_(slope)
  return made


def mlp(params: Mapping) -> nn.Sequential:
  """Linear layers with PReLU between them."""
  layers = [linear(params["linear"][i]) for i in sorted(params["linear"])]
  slopes = params.get("activations", {})
  between = [prelu(slopes[i]) for i in sorted(slopes)]
  mixed = itertools.zip_longest(layers, between)
  return nn.Sequential(*(m for pair in mixed for m in pair if m is not None))


def log_loss(outputs: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
  """Mean cross-entropy of a softmax over no click and click."""
  logit = outputs[:, 1] - outputs[:, 0]
  return functional.binary_cross_entropy_with_logits(logit, label)


class RMSprop:
  """Optax's: epsilon inside the root, where torch.optim has it outside.

  A handful of calls for all parameters together, as torch.optim's `foreach`.
  """

  DECAY, EPSILON = 0.9, 1e-8

  def __init__(self, parameters: Iterable[nn.Parameter], rate: float):
    self.parameters, self.rate = list(parameters), rate
    self.squares = [torch.zeros_like(p) for p in self.parameters]

  @torch.no_grad()
  def step(self) -> None:
    gradients = [p.grad for p in self.parameters]
    torch._foreach_mul_(self.squares, self.DECAY)
    torch._foreach_addcmul_(self.squares, gradients, gradients, 1 - self.DECAY)
    scale = torch._foreach_add(self.squares, self.EPSILON)
    torch._foreach_sqrt_(scale)
    torch._foreach_addcdiv_(self.parameters, gradients, scale, -self.rate)

  def zero_grad(self) -> None:
    for parameter in self.parameters:
      parameter.grad = None
