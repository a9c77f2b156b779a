"""Rows are shortened one by one."""

import jax.numpy as jnp
import numpy as np

from dicm_jax.optimizers import clip_rows


def test_long_rows_are_shortened_and_short_ones_stay():
  clip = clip_rows.clip_rows(2.0)
  rows = jnp.array([[3.0, 4.0], [0.6, 0.8], [0.0, 0.0], [0.0, -2.0]])
  found, _ = clip.update(rows, clip.init(rows))
  # Rounding of 32 bits.
  np.testing.assert_allclose(found[0], [1.2, 1.6], rtol=1e-6)
  np.testing.assert_array_equal(found[1:], rows[1:])
