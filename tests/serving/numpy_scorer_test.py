"""NumPy alone scores a bundle as evaluation scores its run."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.data import sample
from dicm_jax.serving import numpy_scorer
from tests.serving import bundles

ROOT = pathlib.Path(__file__).parents[2]


def assert_scores(made) -> None:
  found = numpy_scorer.NumpyScorer(made.bundle)(made.log)
  assert np.std(made.probability) > 1e-3
  # Float32 sums in another order.
  np.testing.assert_allclose(found, made.probability, rtol=0, atol=1e-5)


def test_default_network_scores_as_evaluation_does(made):
  assert_scores(made)


VARIANTS = {
  **{
    name: {"model__aggregator": name}
    for name in (*numpy_scorer.POOLED, "attentive")
  },
  "ids only": {"model__images": "none"},
  "ad alone": {"model__images": "ad"},
  "behaviours alone": {"model__images": "behaviour"},
  "free weights": {"model__normalize": "none"},
  "softmax": {"model__normalize": "softmax"},
  "dice": {"model__activation": "dice"},
  "relu": {
    "model__activation": "relu",
    "model__output_activation": "relu",
    "model__outputs": 1,
  },
  "separate image nets": {"model__image_nets": "separate"},
  "frozen head": {"model__frozen_width": 6},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_variant_scores_as_evaluation_does(name, tmp_path, monkeypatch):
  assert_scores(bundles.make(tmp_path, monkeypatch, **VARIANTS[name]))


def test_blocks_of_page_views_make_no_difference(made, monkeypatch):
  scorer = numpy_scorer.NumpyScorer(made.bundle)
  whole = scorer(made.log)
  monkeypatch.setattr(numpy_scorer, "_SAMPLES", 5)
  # Products of other shapes may round otherwise.
  np.testing.assert_allclose(scorer(made.log), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
  ("model", "found"),
  [
    ({"name": "din", "images": "none"}, "model.name='din'"),
    ({"name": "dicm", "aggregator": "simtier"}, "aggregator='simtier'"),
  ],
)
def test_other_networks_are_refused_by_name(model, found):
  given = {"images": "both", "aggregator": "sum"} | model
  with pytest.raises(errors.InputError) as caught:
    numpy_scorer.check(given)
  assert found in str(caught.value)
  assert "multi_query_attentive" in str(caught.value)
  assert "net.jaxexport" in str(caught.value)


ALONE = """
import sys
import numpy as np
from dicm_jax.data import click_log
from dicm_jax.serving import bundle, logs, numpy_scorer
made = bundle.read(bundle.pathlib.Path(sys.argv[1]))
scorer = numpy_scorer.NumpyScorer(made)
assert not {"jax", "jaxlib", "flax"} & set(sys.modules), "imported JAX"
print(scorer._net._layers[0][0].shape)
"""


@pytest.mark.slow
def test_bundle_is_read_and_scored_without_jax(made):
  done = subprocess.run(
    [sys.executable, "-c", ALONE, str(made.bundle.folder)],
    capture_output=True,
    text=True,
    check=False,
    cwd=ROOT,
    timeout=120,
  )
  assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_test_split_of_the_sample_scores_as_evaluation_does(
  tmp_path, monkeypatch
):
  data = sample.generate(seed=0).dataset
  assert_scores(bundles.make(tmp_path, monkeypatch, data=data))
