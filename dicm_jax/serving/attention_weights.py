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
    if model["images"] not in ("both", "behaviour"):
      raise errors.InputError("the model does not see what users clicked")
    found, known = model["aggregator"], numpy_scorer.ATTENTIVE
    if model["name"] != "dicm" or found not in known:
      raise errors.InputError(
        f"expected the net 'dicm' with an aggregator {' or '.join(known)}, "
        f"found {model['name']!r} with {found!r}"
      )
    self._scorer = numpy_scorer.NumpyScorer(bundle)

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
