"""Token numbers of texts."""

import time

import numpy as np

from dicm_jax.data import text


def test_equal_words_have_equal_numbers_whatever_their_case():
  found = text.tokens(["Red dress", "a red, RED thing"], length=4, buckets=999)
  assert found.dtype == np.int32
  assert found[0, 0] == found[1, 1] == found[1, 2]
  assert len({*found[0, :2], *found[1, [0, 3]]}) == 4


def test_rows_end_in_padding_and_are_cut_at_the_length():
  found = text.tokens(["one two three four", "one", ""], length=3, buckets=7)
  assert (found[0] > 0).all() and found.max() <= 7
  assert found[1].tolist() == [found[0, 0], text.PADDING, text.PADDING]
  assert not found[2].any()


def test_wide_and_composed_characters_are_the_plain_ones():
  assert text.words("ＲＥＤ café") == ["red", "café"]
  assert text.words("cafe\u0301") == text.words("caf\u00e9")


def test_no_texts_are_no_rows():
  assert text.tokens([], length=3, buckets=7).shape == (0, 3)


def test_a_text_of_accents_takes_no_time():
  accents = "a" + "\u0301\u0323" * 100_000  # In order it takes 25 seconds.
  start = time.process_time()
  assert len(text.words(accents + " word")) == 1
  assert time.process_time() - start < 1
