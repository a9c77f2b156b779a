"""One bundle of the default network for all tests that change nothing."""

import pytest

from tests.serving import bundles, explored


@pytest.fixture(scope="session")
def made(tmp_path_factory):
  """A few steps of multi-query attention on the toy data."""
  with pytest.MonkeyPatch.context() as patch:
    folder = tmp_path_factory.mktemp("serving")
    return bundles.make(folder, patch, data=bundles.placed())


@pytest.fixture(scope="session")
def towers(tmp_path_factory):
  """A few steps of the pre-rank model on the toy data."""
  with pytest.MonkeyPatch.context() as patch:
    return bundles.towers(tmp_path_factory.mktemp("towers"), patch)


@pytest.fixture(scope="session")
def shown(made, tmp_path_factory):
  """The explorer's folder over the toy data."""
  with pytest.MonkeyPatch.context() as patch:
    at = tmp_path_factory.mktemp("explore") / "folder"
    return explored.folder(made, at, patch)
