"""docs/checkpoints.md reads a checkpoint with nothing but Orbax."""

import pathlib
import re

import jax
import numpy as np

from dicm_jax import checkpoint
from dicm_jax.sharding import table
from tests import toy

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "checkpoints.md"


def test_example_of_the_docs_reads_all_leaves_and_rows(tmp_path):
  x = toy.build(model__image_nets="separate", model__frozen_width=6)
  with checkpoint.manager(tmp_path) as opened:
    checkpoint.save(opened, 600, x.state, {})
  text = PAGE.read_text()
  (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  found: dict = {}
  exec(example.replace("runs/quickstart", str(tmp_path)), found)

  leaves, expected = named(found["state"]), named(x.state)
  assert leaves.keys() == expected.keys()
  for name, leaf in leaves.items():
    np.testing.assert_array_equal(leaf, expected[name])
  rows = table.from_buckets(np.asarray(x.state.ids), x.layout.num_rows)
  np.testing.assert_array_equal(found["rows"][: len(rows)], rows)

  # Each leaf is below one that the page tells of, and those are there.
  told = re.findall(r"^\| `([a-z_.]+)` \|", text.partition("| key")[0], re.M)
  assert len(told) == 8
  for name in leaves:
    assert any(f"{name}.".startswith(f"{part}.") for part in told), name
  for part in told:
    assert any(f"{name}.".startswith(f"{part}.") for name in leaves), part
  assert leaves.keys() >= {
    "id_slots.0.sum_of_squares",
    "standard.whiten",
    "dense.embed.behaviour.linear.0.kernel",
    "dense.net.sight.aggregator.by_ids.rest.linear.1.bias",
    "dense_slots.0.nu.net.net.linear.0.kernel",
  }


def named(tree) -> dict:
  """Leaves by dotted name."""
  flat = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    jax.tree_util.keystr(path, simple=True, separator="."): leaf
    for path, leaf in flat
  }
