"""SimTier: how alike the ad's picture and the behaviours' pictures are.

Source: "Enhancing Taobao Display Advertising with Multimodal Representations",
https://arxiv.org/abs/2407.19467, section 4.1.
"""

from flax import nnx
import jax.numpy as jnp
from jaxtyping import Array, Float

from dicm_jax.model import layers
from dicm_jax.model.behaviours import Behaviours, Queries, Widths


class SimTier(nnx.Module):
  """A histogram of the cosines between ad image and behaviour images.

  The cosines are those of the frozen head's vectors: a histogram has no
  gradient that could train any. Each sample gets log(1 + count) for every tier
  of equal width on [-1, 1]; the paper does not say how counts are scaled.
  """

  TIERS = 32
  """Whitened vectors of 64 numbers have cosines of about 0 +- 1/8: tiers of
  1/16 tell them apart."""

  def __init__(self, widths: Widths, *, normalize: str, rngs: nnx.Rngs):
    del widths, normalize, rngs
    self.width = self.TIERS

  def __call__(
    self, behaviours: Behaviours, queries: Queries
  ) -> Float[Array, "b _"]:
    entry, sample = behaviours.pairs
    ads = layers.unit(queries.frozen)
    clicks = layers.unit(behaviours.frozen)
    cosine = jnp.sum(ads[sample] * clicks[entry], axis=1)
    tier = jnp.floor((cosine + 1) / 2 * self.TIERS).astype(jnp.int32)
    tier = jnp.clip(tier, 0, self.TIERS - 1)
    counts = jnp.zeros((ads.shape[0], self.TIERS))
    return jnp.log1p(counts.at[sample, tier].add(1, mode="drop"))
