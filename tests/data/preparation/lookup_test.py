"""Looking strings up in long lists."""

import numpy as np
import pyarrow as pa
import pytest

from dicm_jax.data.preparation import lookup

KNOWN = ["", "a", "b", "ba", "ab", "a\0", "\0", "ü", "long " * 100]
ASKED = [*KNOWN, None, "c", "aa", "bb", "\0a", "long " * 99, "u", "a"]


@pytest.mark.parametrize("sliced", [0, 3])
def test_places_are_those_of_a_plain_search(sliced):
  known, asked = pa.array(KNOWN).slice(sliced), pa.array(ASKED).slice(sliced)
  expected = [
    known.to_pylist().index(v) + 1 if v in known.to_pylist() else 0
    for v in asked.to_pylist()
  ]
  assert lookup.Lookup(known).rows(asked).tolist() == expected
  assert lookup.rows_of(asked, known).tolist() == expected


def test_many_values_in_any_order():
  rng = np.random.default_rng(0)
  numbers = rng.permutation(1 << 18)
  known = pa.array([f"user{i}" for i in numbers.tolist()])
  asked = pa.array([f"user{i}" for i in range(1 << 19)])
  expected = np.zeros(1 << 19, np.int32)
  expected[numbers] = np.arange(1, 1 + (1 << 18))
  np.testing.assert_array_equal(lookup.Lookup(known).rows(asked), expected)


def test_strings_of_equal_hash_are_told_apart(monkeypatch):
  known, asked = pa.array(KNOWN), pa.array(ASKED)
  expected = lookup.Lookup(known).rows(asked)
  monkeypatch.setattr(
    lookup, "_hashes", lambda values: np.zeros(len(values), np.uint64)
  )
  np.testing.assert_array_equal(lookup.Lookup(known).rows(asked), expected)
  alone = lookup.Lookup(pa.array(["a"]))
  assert alone.rows(pa.array(["b", "a"])).tolist() == [0, 1]


def test_an_empty_list_holds_nothing():
  none = lookup.Lookup(pa.array([], pa.string()))
  assert none.rows(pa.array(["a", None])).tolist() == [0, 0]
