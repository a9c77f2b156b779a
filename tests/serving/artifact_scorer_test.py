"""The exported network scores as its run, in batches of any size."""

import dataclasses
import runpy

import jax
import numpy as np
import pytest

from dicm_jax import config as config_lib
from dicm_jax import errors, row_vectors
from dicm_jax.data import batch
from dicm_jax.model import aggregators
from dicm_jax.serving import artifact_scorer, logs, net_inputs
from dicm_jax.serving import bundle as bundle_lib
from tests import toy
from tests.configs_run_test import CONFIGS, head_of
from tests.serving import bundles

NEEDS_HEAD = {"simtier", "target_attention"}


def assert_scores(made) -> None:
  found = artifact_scorer.ArtifactScorer(made.bundle)(made.log)
  assert np.std(made.probability) > 1e-4
  # Float32 sums in another order.
  np.testing.assert_allclose(found, made.probability, rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", [1, 7, 400])
def test_any_number_of_samples_is_scored(made, count):
  bundle = made.bundle
  samples = np.sort(np.arange(count) % made.log.num_samples)
  cut = batch.build(made.log, samples, bundle.fields.layout, num_devices=1)
  inputs = net_inputs.of_batch(cut, bundle.ids, bundle.images)
  path = bundle.folder / bundle_lib.NET
  exported = jax.export.deserialize(bytearray(path.read_bytes()))
  assert exported.platforms == ("cpu", "cuda", "tpu")
  found = exported.call(inputs)
  expected = made.probability[samples]
  # Float32 sums in another order.
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_inputs_are_as_the_manifest_says(made):
  bundle = made.bundle
  cut = batch.build(made.log, np.arange(9), bundle.fields.layout, num_devices=1)
  inputs = net_inputs.of_batch(cut, bundle.ids, bundle.images)
  said = bundle.manifest["inputs"]
  assert set(said) == set(inputs)
  sizes: dict[str, int] = {}
  for name, array in inputs.items():
    assert array.dtype == said[name]["dtype"], name
    for dimension, size in zip(said[name]["shape"], array.shape, strict=True):
      assert sizes.setdefault(dimension, size) == size or dimension == size


def test_nothing_is_compiled_for_what_fits_the_ladder(made):
  ladder = tuple(
    artifact_scorer.Sizes(samples=n, groups=8, entries=8) for n in (8, 32)
  )
  scorer = artifact_scorer.ArtifactScorer(made.bundle, ladder)
  compiled = scorer._call._cache_size()
  for groups in (slice(0, 1), slice(1, 3), slice(10, 14)):
    part = logs.part(made.log, groups)
    samples = np.flatnonzero(
      (made.log.group >= groups.start) & (made.log.group < groups.stop)
    )
    expected = made.probability[samples]
    # Float32 sums in another order.
    np.testing.assert_allclose(scorer(part), expected, rtol=0, atol=1e-5)
  assert scorer._call._cache_size() == compiled == 2


def test_damaged_artifact_is_refused_by_name(made, tmp_path):
  (tmp_path / bundle_lib.NET).write_bytes(b"nothing of the kind")
  damaged = dataclasses.replace(made.bundle, folder=tmp_path)
  with pytest.raises(errors.InputError, match=r"net\.jaxexport: cannot be"):
    artifact_scorer.ArtifactScorer(damaged)


def options_of(config: config_lib.Config) -> dict:
  """What of a config decides its network, as `toy.values` takes it."""
  model = dataclasses.asdict(config.model)
  model["frozen_width"] = head_of(config.model)
  return {f"model__{key}": value for key, value in model.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
  "path",
  [path for path in CONFIGS if path.stem != "pairwise"],
  ids=lambda path: path.stem,
)
def test_network_of_config_scores_as_evaluation_does(
  path, tmp_path, monkeypatch
):
  config = config_lib.from_dict(
    runpy.run_path(str(path))["get_config"]().to_dict()
  )
  options = options_of(config)
  if config.model.name in ("unified", "lr"):  # Their rows begin at 0.
    options["sparse_optimizer__learning_rate"] = 1.0
  assert_scores(bundles.make(tmp_path, monkeypatch, **options))


@pytest.mark.slow
@pytest.mark.parametrize("aggregator", aggregators.names())
def test_aggregator_scores_as_evaluation_does(
  aggregator, tmp_path, monkeypatch
):
  head = 6 if aggregator in NEEDS_HEAD else 0
  options = {"model__aggregator": aggregator, "model__frozen_width": head}
  assert_scores(bundles.make(tmp_path, monkeypatch, **options))


@pytest.mark.slow
@pytest.mark.parametrize(
  "options",
  [
    {"image__mode": "pixels"},
    {
      "image__mode": "titles",
      "image__backbone": "text_cnn",
      "model__aggregator": "sum",
    },
    {"image__tier": "host", "sparse_optimizer__tier": "host"},
    {"image__dtype": "bfloat16"},
  ],
  ids=["pixels", "titles", "host", "bfloat16"],
)
def test_kind_and_tier_of_content_make_no_difference(
  options, tmp_path, monkeypatch
):
  assert_scores(bundles.make(tmp_path, monkeypatch, **options))


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "least"), [("float16", 2e-3), ("int8", 0.1)])
def test_fewer_bytes_cost_what_the_manifest_says(
  dtype, least, tmp_path, monkeypatch
):
  made = bundles.make(tmp_path, monkeypatch, dtype=dtype)
  found = artifact_scorer.ArtifactScorer(made.bundle)(made.log)
  most = float(np.abs(found - made.probability).max())
  scored = made.bundle.manifest["scored"]
  assert 0 < most < least
  assert scored["largest_difference"] == pytest.approx(most)
  table = made.bundle.folder / bundle_lib.IMAGES
  assert table.stat().st_size > 0


@pytest.mark.slow
def test_vectors_of_a_mesh_are_those_of_one_device():
  one, many = toy.build(1, 1), toy.build(2, 4)
  vectors = row_vectors.of_images(one, one.state)
  # Float32 products of other shapes.
  np.testing.assert_allclose(
    row_vectors.of_images(many, many.state), vectors, rtol=0, atol=1e-5
  )
  rows = row_vectors.of_ids(one, one.state)
  np.testing.assert_array_equal(row_vectors.of_ids(many, many.state), rows)
