"""DIN and DCNv2 against FuxiCTR's layers, on the same weights and inputs.

The layers are put together as FuxiCTR 2.3.10 does in its model zoo (LongCTR:
DIN, and DCNv2 in its parallel form), https://github.com/reczoo/FuxiCTR.
"""

import importlib
import sys
from unittest import mock

from flax import nnx
import jax
import numpy as np
import pytest

from tests.model import hand_made

torch = pytest.importorskip("torch", reason="FuxiCTR is written in PyTorch")
pytest.importorskip(
  "fuxictr", reason="the peer; pip install --no-deps fuxictr==2.3.10"
)

pytestmark = pytest.mark.slow
MODES = [("relu", False), ("prelu", False), ("dice", False), ("dice", True)]
"""Activation, and whether in training: only Dice is another then."""
EQUAL = (4, 4, 4, 4)
"""Histories without padding, which FuxiCTR counts in Dice's statistics."""
ROWS = {"din": (24, 6, 6), "dcnv2": (6, 6)}
"""Rows that each Dice sees then: pairs in the attention, else samples."""


def _import_layers():
  """FuxiCTR's layers without its preprocessing.

  That wants Ray and Polars, 600 MB, and the layers only a loader of
  embeddings from it, which none of those below calls.
  """
  with pytest.MonkeyPatch.context() as patch:
    for name in ("fuxictr.preprocess", "fuxictr.preprocess.tokenizer"):
      patch.setitem(sys.modules, name, mock.MagicMock())
    return importlib.import_module("fuxictr.pytorch.layers")


peer = _import_layers()


class TheirDIN(torch.nn.Module):
  """Attention to the history, then an MLP over everything."""

  def __init__(self, ours, activation: str):
    super().__init__()
    (hidden,) = [x.out_features for x in ours.attention.weight.linear[:-1]]
    widths = [x.in_features for x in ours.net.linear]
    past = ours.attention.weight.linear[0].in_features // 4
    self.attention = peer.DIN_Attention(
      past, attention_units=[hidden], hidden_activations=activation
    )
    self.dnn = peer.MLP_Block(
      input_dim=widths[0],
      output_dim=1,
      hidden_units=widths[1:],
      hidden_activations=activation,
    )
    self.blocks = [
      (ours.attention.weight, (), self.attention.attention_layer),
      (ours.net, (), self.dnn),
    ]

  def forward(self, table, given):
    past = [name.user for name in hand_made.FIELDS.past]
    interest = self.attention(*target_and_history(table, given))
    x = [*sides(table, given, without=past), interest]
    return self.dnn(torch.cat(x, dim=1))[:, 0]


class TheirDCNv2(torch.nn.Module):
  """Cross network and MLP side by side, then one linear layer."""

  def __init__(self, ours, activation: str):
    super().__init__()
    width = ours.deep.linear[0].in_features
    hidden = [x.out_features for x in ours.deep.linear]
    self.cross = peer.CrossNetV2(width, len(ours.cross.layers))
    self.deep = peer.MLP_Block(
      input_dim=width, hidden_units=hidden, hidden_activations=activation
    )
    self.last = torch.nn.Linear(width + hidden[-1], 1)
    copy_linear([*ours.cross.layers], self.cross.cross_layers)
    copy_linear([ours.outputs], [self.last])
    self.blocks = [(ours.deep, (ours.last,), self.deep)]

  def forward(self, table, given):
    x = torch.cat(sides(table, given), dim=1)
    both = torch.cat([self.cross(x), self.deep(x)], dim=1)
    return self.last(both)[:, 0]


THEIRS = {"din": TheirDIN, "dcnv2": TheirDCNv2}


def tensor(x):
  return torch.tensor(np.asarray(x))


def sides(table, given, without=()):
  """ID vectors, summed over lists, and numbers, in our order of the fields."""

  def pooled(lists, owner):
    found = hand_made.entries(lists, owner)
    return sum((w * table[row] for row, w in found), table[0] * 0)

  def pooled_all(lists, owners):
    return torch.stack([pooled(lists, int(owner)) for owner in owners])

  samples = range(len(given.group))
  ads = [table[tensor(rows)] for rows in given.ad_ids.values()]
  ads += [pooled_all(lists, samples) for lists in given.ad_lists.values()]
  users = [
    pooled_all(lists, given.group)
    for name, lists in given.user_ids.items()
    if name not in without
  ]
  of_users = tensor(given.user_dense)[tensor(given.group)]
  return [*ads, tensor(given.ad_dense), *users, of_users]


def target_and_history(table, given):
  """[b, E], [b, T, E] and the mask [b, T], padded behind with row 0."""
  longest = int(given.history_length.max())
  ads, pasts = [], []
  mask = np.zeros((len(given.group), longest))
  for past in hand_made.FIELDS.past:
    places = np.zeros((len(given.group), longest), int)
    for sample, group in enumerate(given.group):
      own = hand_made.entries(given.user_ids[past.user], int(group))
      places[sample, : len(own)] = [row for row, _ in own]
      mask[sample, : len(own)] = 1
    pasts.append(table[tensor(places)])
    ads.append(table[tensor(given.ad_ids[past.ad])])
  return torch.cat(ads, dim=-1), torch.cat(pasts, dim=-1), tensor(mask)


def copy_linear(ours, theirs):
  with torch.no_grad():
    for a, b in zip(ours, theirs, strict=True):
      b.weight.copy_(tensor(a.kernel[...]).T)
      b.bias.copy_(tensor(a.bias[...]))


def copy_activations(ours, theirs):
  with torch.no_grad():
    for a, b in zip(ours, theirs, strict=True):
      if isinstance(b, torch.nn.PReLU):
        b.weight.copy_(tensor(a.slope[...]))
      elif isinstance(b, peer.Dice):
        b.alpha.copy_(tensor(a.slope[...]))
        b.bn.running_mean.copy_(tensor(a.mean[...]))
        b.bn.running_var.copy_(tensor(a.variance[...]))


def activations(block):
  """The layers of a block of theirs that are no linear ones."""
  return [x for x in block.mlp if not isinstance(x, torch.nn.Linear)]


def copied(ours, name: str, activation: str):
  """Their net with the parameters of ours."""
  theirs = THEIRS[name](ours, activation)
  for mlp, more, block in theirs.blocks:
    linear = [x for x in block.mlp if isinstance(x, torch.nn.Linear)]
    copy_linear(mlp.linear, linear)
    copy_activations([*mlp.activations, *more], activations(block))
  return theirs


def dices(theirs):
  """The batch statistics of each Dice."""
  return [x.bn for x in theirs.modules() if isinstance(x, peer.Dice)]


def our_results(net, ids, images, given, pull):
  """Logits, gradient of the ID vectors, and the net after the call."""
  definition, state = nnx.split(net)
  values = nnx.to_pure_dict(state)

  def run(ids):
    again = nnx.merge(definition, values)
    logits = again(ids, images, given)
    after = nnx.to_pure_dict(nnx.state(again))
    return (logits * pull).sum(), (logits, after)

  gradient, (logits, after) = jax.jit(jax.grad(run, has_aux=True))(ids)
  return logits, gradient, nnx.merge(definition, after)


def their_results(net, ids, given, pull):
  table = tensor(ids).requires_grad_()
  logits = net(table, given)
  logits.backward(tensor(pull))
  return logits.detach().numpy(), table.grad.numpy()


def make(name: str, activation: str, *, training: bool):
  """Our net, theirs with the same parameters, and what they are given."""
  config = hand_made.config(name, activation=activation)
  ours = hand_made.net(config)
  theirs = copied(ours, name, activation)
  ours.train() if training else ours.eval()
  theirs.train(training)
  given = hand_made.inputs(EQUAL if training else hand_made.LENGTHS)
  return ours, theirs, hand_made.vectors(config), given


@pytest.mark.parametrize(("activation", "training"), MODES)
@pytest.mark.parametrize("name", THEIRS)
def test_logits_and_gradients_equal_fuxictrs(name, activation, training):
  ours, theirs, (ids, images), given = make(name, activation, training=training)
  pull = np.random.default_rng(1).normal(size=len(given.group))
  pull = pull.astype(np.float32)
  logits, gradient, _ = our_results(ours, ids, images, given, pull)
  expected, expected_gradient = their_results(theirs, ids, given, pull)
  assert logits.std() > 0.1
  # float32 sums in another order, through up to six layers.
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(
    gradient,
    expected_gradient,
    rtol=1e-4,
    atol=1e-4 * np.abs(expected_gradient).max(),
  )


@pytest.mark.parametrize("name", THEIRS)
def test_running_averages_equal_fuxictrs(name):
  ours, theirs, (ids, images), given = make(name, "dice", training=True)
  before = dices(copied(ours, name, "dice"))
  pull = np.ones(len(given.group), np.float32)
  _, _, after = our_results(ours, ids, images, given, pull)
  their_results(theirs, ids, given, pull)
  found, expected = dices(copied(after, name, "dice")), dices(theirs)
  for n, x, y, z in zip(ROWS[name], before, found, expected, strict=True):
    # PyTorch divides by n - 1 for the variance it remembers, we by n.
    kept = 0.99 * x.running_var
    variance = kept + (z.running_var - kept) * (n - 1) / n
    for a, b in ((y.running_mean, z.running_mean), (y.running_var, variance)):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # float32
