"""One bundle of the default network for all tests that change nothing."""

import pytest

from tests.serving import bundles


@pytest.fixture(scope="session")
def made(tmp_path_factory):
  """A few steps of multi-query attention on the toy data."""
  with pytest.MonkeyPatch.context() as patch:
    return bundles.make(tmp_path_factory.mktemp("serving"), patch)


@pytest.fixture(scope="session")
def towers(tmp_path_factory):
  """A few steps of the pre-rank model on the toy data."""
  options = {"model__name": "prerank", "model__aggregator": "sum"}
  with pytest.MonkeyPatch.context() as patch:
    return bundles.make(tmp_path_factory.mktemp("towers"), patch, **options)
