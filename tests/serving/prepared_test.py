"""Requests speak of a prepared data set in the values of its log."""

import dataclasses
import json

import numpy as np
import pytest

from dicm_jax.data import prepared
from dicm_jax.serving import example, numpy_scorer, request_reader
from dicm_jax.serving.limits import Limits
from tests.data import logs
from tests.serving import bundles

SCHEMA = dataclasses.replace(
  logs.SCHEMA,
  feature=tuple(
    dataclasses.replace(f, vocabulary="hash", buckets=50)
    if f.name == "place"
    else f
    for f in logs.SCHEMA.feature
  ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  at = tmp_path_factory.mktemp("prepared")
  return logs.prepare(logs.job(at, logs.rows(), SCHEMA))


@pytest.fixture(scope="module")
def made(tmp_path_factory, folder):
  with pytest.MonkeyPatch.context() as patch:
    return bundles.make(
      tmp_path_factory.mktemp("bundle"),
      patch,
      data=prepared.load(folder),
      data__path=str(folder),
      train__batch_size=32,
    )


@pytest.mark.slow
def test_numpy_scores_prepared_data_as_evaluation_does(made):
  found = numpy_scorer.NumpyScorer(made.bundle)(made.log)
  # Float32 sums in another order.
  np.testing.assert_allclose(found, made.probability, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_values_of_the_log_ask_for_its_rows(made):
  reader = request_reader.RequestReader(made.bundle, Limits())
  scorer = numpy_scorer.NumpyScorer(made.bundle)
  place = {made.bundle.vocabularies["place"].row(p): p for p in "012"}
  found, told = [], 0
  for group in range(made.log.num_groups):
    request = example.request_of(made.bundle, made.log, group)
    # A hash cannot be undone: what the log said comes from the log.
    begin = np.searchsorted(made.log.group, group)
    for i, ad in enumerate(request["candidates"]):
      ad["ids"]["place"] = place[made.log.ad_ids["place"][begin + i]]
      told += ad["ids"]["ad_id"] is not None
    asked = reader.read(json.dumps(request).encode())
    found.append(scorer(asked.log))
  assert told > 0
  # Dense numbers went to the log's unit and back.
  np.testing.assert_allclose(
    np.concatenate(found), made.probability, rtol=0, atol=1e-5
  )


@pytest.mark.slow
def test_context_holds_for_the_candidates_that_do_not_say(made):
  reader = request_reader.RequestReader(made.bundle, Limits())
  request = {
    "context": {"ids": {"place": "1"}},
    "candidates": [{}, {"ids": {"place": "2"}}, {"image": "nobody"}],
  }
  asked = reader.read(json.dumps(request).encode())
  known = made.bundle.vocabularies["place"]
  rows = [known.row(value) for value in ("1", "2", "1")]
  assert asked.log.ad_ids["place"].tolist() == rows
  # Ads without a picture have a row of their own here.
  assert asked.log.ad_image.tolist() == [0, 0, 0]
  assert asked.unknown["candidates.image"] == 3
  # A missing number is the mean, which is 0 once it is scaled.
  np.testing.assert_array_equal(asked.log.ad_dense, np.zeros((3, 1)))
