"""Rates and the time left, over all parts of a piece of work."""

import logging

import pytest

from dicm_jax import progress


@pytest.fixture
def clock(monkeypatch):
  """A second passes whenever somebody looks."""
  now = [100.0]

  def look() -> float:
    now[0] += 1
    return now[0]

  monkeypatch.setattr(progress.time, "monotonic", look)
  monkeypatch.setattr(progress, "LOG_SECONDS", 2)


def test_known_work_counts_as_done_but_not_into_the_rate(clock, caplog):
  caplog.set_level(logging.INFO)
  tell = progress.Counter("pictures").part()
  tell(50, 110)
  tell(60, 110)
  tell(70, 110)
  assert [r.message for r in caplog.records] == [
    "pictures: 70 of 110, 10.0 a second, 4 s left"
  ]


def test_parts_add_up_to_the_whole(clock, caplog):
  caplog.set_level(logging.INFO)
  counter = progress.Counter("pictures")
  first = counter.part(0, 100)
  first(0, 40)
  first(40, 40)
  second = counter.part(40, 100)
  second(10, 60)  # Known before.
  second(40, 60)
  second(60, 60)
  assert [r.message for r in caplog.records] == [
    "pictures: 50 of 100, 20.0 a second, 2 s left",
    "pictures: 100 of 100, 22.5 a second, 0 s left",
  ]
