"""The tables of docs/models.md: complete, and as the command prints them."""

import itertools
import pathlib

import pytest

from benchmarks import parameters
from dicm_jax.model import aggregators, nets
from tests.model import hand_made

DOC = pathlib.Path(__file__).parents[2] / "docs" / "models.md"
HOW = "run `python -m benchmarks.parameters` and copy what it prints"


def test_every_net_and_aggregator_has_a_line():
  assert set(parameters.NETS) == set(nets.NETS)
  assert set(parameters.AGGREGATORS) == set(aggregators.names())


@pytest.mark.slow
@pytest.mark.parametrize(
  "table", [parameters.nets_table, parameters.aggregators_table]
)
def test_document_holds_what_the_command_prints(table):
  assert table() + "\n" in DOC.read_text(), HOW


def mlp(*widths: int) -> int:
  """Kernels, biases, and a slope for each hidden number."""
  pairs = itertools.pairwise(widths)
  return sum(i * o + o for i, o in pairs) + sum(widths[1:-1])


AD, USER = 3 * 4 + 1, 3 * 4 + 2
"""Numbers of an ad and of a user in hand_made.FIELDS at width 4."""
COUNTS = {
  "dcnv2": 3 * (27 * 27 + 27) + mlp(27, 7, 6) + 6 + (27 + 6 + 1),
  "dicm": mlp(AD + USER, 7, 6, 1),
  # Two of the user's fields are joined by attention, 36 wide, instead.
  "din": mlp(AD + USER, 7, 6, 1) + mlp(4 * 8, 36, 1),
  "ffm": 1 + 3 + 1 + 3 * 3,  # Two biases, the numbers, a number a pair.
  "lr": 1 + 3 + 1,
  "prerank": mlp(AD, 7, 6, 10) + mlp(USER, 7, 6, 10),
  "unified": 1 + 3 + 1,  # Without pictures, the LR.
}


@pytest.mark.parametrize("name", nets.NETS)
def test_count_equals_one_by_hand(name):
  config = hand_made.config(name)
  assert parameters.of_net(config, hand_made.FIELDS) == COUNTS[name]


@pytest.mark.parametrize(
  ("structure", "module"),
  [("dot", 1 + 1), ("product", 5 + 1), ("dnn", mlp(10, 7, 6, 8, 1))],
)
def test_module_count_equals_one_by_hand(structure, module):
  config = hand_made.config("unified", images="both", structure=structure)
  found = parameters.of_net(config, hand_made.FIELDS)
  assert found == COUNTS["unified"] + module


def test_statistics_are_no_parameters():
  config = hand_made.config("dicm", activation="dice")
  assert parameters.of_net(config, hand_made.FIELDS) == COUNTS["dicm"]


def test_image_layers_count_equals_one_by_hand():
  config = hand_made.config("dicm", image_widths=(6, 5))
  assert parameters.of_image_layers(config, 8) == mlp(8, 6, 5)
  config = hand_made.config("dicm", image_widths=(6, 5), image_nets="separate")
  assert parameters.of_image_layers(config, 8) == 2 * mlp(8, 6, 5)


def test_aggregator_count_equals_one_by_hand():
  config = hand_made.config("dicm", aggregator="attentive")
  found = parameters.aggregator(config, hand_made.FIELDS)
  # Key and query of 5 numbers, FC 64, FC 16, FC 1 and their slopes.
  assert parameters.count(found) == mlp(10, 64, 16, 1)
