"""Broken files for each kind of reader, the same ones every day."""

import pathlib

import pytest

from tests.faults.fuzz import runs, targets

INPUTS = 80


def _shown(name: str, data: bytes) -> str:
  return f"{name}: {len(data)} bytes, {data[:300]!r}"


@pytest.mark.parametrize("name", list(targets.everything()))
def test_it_is_accepted_or_refused_with_place_and_reason(name):
  with runs.folder() as folder:
    found = targets.everything()[name]
    tally = runs.run(found, pathlib.Path(folder), INPUTS, 0, _shown)
  assert tally.broken == {}
  assert tally.inputs >= INPUTS
  assert tally.accepted + tally.rejected == tally.inputs
  assert tally.accepted, "its own examples are wrong"
