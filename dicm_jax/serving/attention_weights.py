"""How much an ad makes the network look at each of a user's behaviours."""

from jaxtyping import Float
import numpy as np

from dicm_jax import errors
from dicm_jax.data import click_log
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import numpy_scorer


class AttentionWeights:
  """Weights of behaviours, by what asks for them.

  Args:
    bundle: of a network that weighs behaviours by the ad.

  Raises:
    InputError: it does not, or not in a way that NumPy knows.
  """

  def __init__(self, bundle: bundle_lib.Bundle):
    model = bundle.model
    numpy_scorer.check(model)
    self._scorer = numpy_scorer.NumpyScorer(bundle)
    if not self._scorer.attends:
      sees = model["images"] in ("both", "behaviour")
      found = f"aggregator {model['aggregator']!r}" if sees else "no pictures"
      raise errors.InputError(
        "this model has no attention weights: expected an aggregator "
        f"{' or '.join(numpy_scorer.ATTENTIVE)}, found {found}"
      )

  def __call__(
    self, log: click_log.ClickLog
  ) -> dict[str, Float[np.ndarray, "n L"]]:
    """Weights of one page view's behaviours for each of its ads.

    Args:
      log: one page view.

    Returns:
      For each channel, by_image and by_ids, by which the ad's picture and the
      ad's ids ask, the weights as the network uses them: scaled as
      model.normalize says, and negative where the network counts a behaviour
      against the ad.
    """
    return self._scorer.attention(log)
