"""A few hundred broken files for each kind of reader, the same every day."""

import pathlib

import pytest

from tests.faults.fuzz import runs, targets

INPUTS = 200


@pytest.mark.parametrize("name", list(targets.everything()))
def test_it_is_accepted_or_refused_with_place_and_reason(name):
  with runs.folder() as folder:
    found = targets.everything()[name]
    tally = runs.run(found, pathlib.Path(folder), INPUTS, 0)
  assert tally.inputs >= INPUTS
  assert tally.accepted + tally.rejected == tally.inputs
  assert tally.accepted, "its own examples are wrong"
