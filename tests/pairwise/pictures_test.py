"""Decoded pictures are kept, as many as there is room for."""

import numpy as np
import pytest

from dicm_jax.data import images
from dicm_jax.pairwise import pictures
from tests import toy

SIZE = 16


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
  """Names of all pictures that are decoded, in their order."""
  names = []
  decode = images.decode

  def noting(data, *, name, size):
    names.append(name)
    return decode(data, name=name, size=size)

  monkeypatch.setattr(images, "decode", noting)
  return names


def test_pictures_are_those_of_the_rows(decoded):
  data = toy.dataset()
  asked = pictures.Decoded(data, SIZE)
  rows = np.array([3, 1, 3, 0])
  expected = images.decode_all(
    [data.image_bytes[i] for i in rows],
    [data.image_names[i] for i in rows],
    SIZE,
  )
  for _ in range(2):  # Decoded, then as kept.
    np.testing.assert_array_equal(asked(rows), expected)


def test_each_is_decoded_once(decoded):
  asked = pictures.Decoded(toy.dataset(), SIZE)
  asked(np.array([3, 1, 3]))
  asked(np.array([1, 2, 3]))
  assert sorted(decoded) == sorted(
    toy.dataset().image_names[i] for i in (1, 2, 3)
  )


def test_no_more_are_kept_than_there_is_room_for(decoded):
  room = 2 * 3 * SIZE * SIZE
  asked = pictures.Decoded(toy.dataset(), SIZE, max_bytes=room)
  for _ in range(3):
    asked(np.array([0, 1, 2, 3]))
  assert len(decoded) == 4 + 2 + 2
