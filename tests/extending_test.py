"""The parts that docs/extending.md adds do what our own do."""

import importlib.metadata
import io
import pathlib
import re

from flax import nnx
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from dicm_jax import errors, optim, plugins, prepare
from dicm_jax.data import datasets
from dicm_jax.model import aggregators, backbone, inputs
from dicm_jax.model import behaviours as behaviours_lib
from tests import toy

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "extending.md"
REGISTRIES = (
  aggregators.COMPARING,
  backbone.BACKBONES,
  datasets.KNOWN,
  optim.SPARSE,
)


def examples() -> dict[str, str]:
  """The page's examples by the titles above them."""
  found = re.findall(
    r"^## (.*?)$.*?```python\n(.*?)```", PAGE.read_text(), re.M | re.S
  )
  return dict(found)


@pytest.fixture
def registered(monkeypatch):
  """Runs an example; its names are known until the test ends."""

  def register(title):
    before = [dict(registry) for registry in REGISTRIES]
    exec(examples()[title], {})
    for registry, old in zip(REGISTRIES, before, strict=True):
      for name in registry.keys() - old.keys():
        made = registry.pop(name)
        monkeypatch.setitem(registry, name, made)

  return register


def losses(**options):
  x = toy.build(**options)
  return toy.run(x, 12)[1]


def test_every_example_is_short():
  assert len(examples()) == 4
  assert all(len(code.splitlines()) < 40 for code in examples().values())


def test_aggregator(registered):
  registered("An aggregator")
  vectors = np.array([[2.0, 0.0], [0.0, 3.0]], np.float32)
  asked = np.array([[1.0, 0.0], [1.0, 1.0], [5.0, 5.0]], np.float32)
  none = jnp.zeros((3, 0))
  # Two ads of a user with two clicks, one of a user with none.
  past = behaviours_lib.Behaviours(
    vectors=jnp.asarray(vectors),
    frozen=none[:2],
    group=jnp.array([0, 0]),
    lengths=jnp.array([2, 0]),
    sample_group=jnp.array([0, 0, 1]),
    pairs=inputs.Pairs(jnp.array([0, 1, 0, 1]), jnp.array([0, 0, 1, 1])),
  )
  made = aggregators.make(
    "cosine", behaviours_lib.Widths(2, 0, 0), normalize="none", rngs=nnx.Rngs(0)
  )
  found = made(past, behaviours_lib.Queries(jnp.asarray(asked), none, none))
  first = np.exp([1.0, 0.0]) / np.exp([1.0, 0.0]).sum()
  expected = [first * [2, 3], [1.0, 1.5], [0, 0]]
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  assert losses(model__aggregator="cosine")[-1] < 1


def test_backbone(registered):
  registered("A backbone")
  made = backbone.make("thumbnail", image_size=64)
  pictures = np.zeros((2, 64, 64, 3), np.uint8)
  pictures[1, :32] = 255
  found = np.asarray(made.apply(made.params, jnp.asarray(pictures))).reshape(
    2, 8, 8, 3
  )
  assert made.width == 192
  np.testing.assert_allclose(found[0], -1, atol=1e-6)
  np.testing.assert_allclose(found[1, :3], 1, atol=1e-6)
  assert losses(image__backbone="thumbnail")[-1] < 1


def test_data_set(registered, tmp_path):
  registered("A data set")
  rows = [f"{i % 2},c{i % 3},{86_400 * i},i{i % 4}" for i in range(8)]
  log = ["bought,customer,at,item", *rows]
  (tmp_path / "log.csv").write_text("\n".join(log))
  (tmp_path / "photos").mkdir()
  for i in range(4):
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(data, "PNG")
    (tmp_path / "photos" / f"i{i}.png").write_bytes(data.getvalue())
  manifest = prepare.prepare(
    prepare.Options(
      format="shop",
      samples=tmp_path / "log.csv",
      images=tmp_path / "photos",
      out=tmp_path / "out",
    )
  )
  assert manifest["splits"]["train"]["samples"] == 7
  assert manifest["splits"]["test"]["samples"] == 1
  assert "what was bought" in manifest["notice"]


def test_optimiser(registered):
  registered("An optimiser")
  options = {
    "sparse_optimizer__name": "sign",
    "sparse_optimizer__learning_rate": 0.5,
  }
  made = optim.make_sparse(toy.values(**options).sparse_optimizer)
  rows = jnp.zeros((2, 3))
  gradient = jnp.array([[1.0, -2.0, 0.0], [3.0, 4.0, -5.0]])
  found, _ = made.update(gradient, made.init(rows), rows)
  np.testing.assert_array_equal(found, -0.5 * jnp.sign(gradient))
  assert losses(**options)[-1] < 1


class Entry:
  name, value = "mine", "my_package.parts"

  def load(self):
    raise KeyError("no such thing")


def test_plugin_that_fails_is_named(monkeypatch):
  def entries(group):
    assert group == "dicm_jax"
    return [Entry()]

  monkeypatch.setattr(importlib.metadata, "entry_points", entries)
  with pytest.raises(errors.InputError) as caught:
    plugins.load()
  assert str(caught.value) == (
    "plugin 'mine' (my_package.parts) cannot be loaded: KeyError('no such "
    "thing'); mend or uninstall its package"
  )
