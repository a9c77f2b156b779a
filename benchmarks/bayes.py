"""Tastes and item effects inferred from clicks: Bayesian logistic regression.

Posterior modes by Newton's method with the Gaussian priors of the simulator,
and the Laplace approximation for what stays unknown.
"""

import dataclasses

from jaxtyping import Float, Int
import numpy as np

_NEWTON_STEPS = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clicks:
  """Training impressions: N users, R pictures, D taste dimensions."""

  design: Float[np.ndarray, "n D"]
  """What each taste multiplies."""
  offset: Float[np.ndarray, " n"]
  """Known part of the logit."""
  label: Float[np.ndarray, " n"]
  user: Int[np.ndarray, " n"]
  image: Int[np.ndarray, " n"]
  num_users: int
  num_images: int


def logistic(logit: np.ndarray) -> np.ndarray:
  return 1.0 / (1.0 + np.exp(-logit))


def user_tastes(
  clicks: Clicks,
  offset: Float[np.ndarray, " n"],
  precision: Float[np.ndarray, " D"],
) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, "N D D"]]:
  """Infers each user's deviation from the mean taste.

  Args:
    clicks: training impressions.
    offset: logit of each impression but for the user's deviation.
    precision: inverse prior variance of each dimension.

  Returns:
    Posterior mode and covariance of every user.
  """
  design, fixed, label, real = _by_user(clicks, offset)
  mode = np.zeros((clicks.num_users, clicks.design.shape[1]))
  prior = np.diag(precision)
  for _ in range(_NEWTON_STEPS):
    p = logistic(fixed + np.einsum("usd,ud->us", design, mode))
    gradient = np.einsum("usd,us->ud", design, (label - p) * real)
    curvature = (p * (1 - p) * real)[..., None] * design
    hessian = np.swapaxes(design, 1, 2) @ curvature + prior
    step = gradient - precision * mode
    mode += np.linalg.solve(hessian, step[..., None])[..., 0]
  # The curvature is that of the last step but one: Newton has converged.
  return mode, np.linalg.inv(hessian)


def population(
  clicks: Clicks,
  offset: Float[np.ndarray, " n"],
  *,
  mean_precision: Float[np.ndarray, " d"],
  item_precision: float,
) -> tuple[
  Float[np.ndarray, " d"],
  Float[np.ndarray, " R"],
  Float[np.ndarray, " R"],
]:
  """Infers the mean taste and the effect of each picture together.

  Together, as a picture's effect would else take up what its looks explain.

  Args:
    clicks: training impressions.
    offset: logit of each impression but for mean taste and item effect.
    mean_precision: inverse prior variance of the mean taste, for the first d
      dimensions; the others have mean 0.
    item_precision: inverse prior variance of the item effects.

  Returns:
    Mean taste, item effects, and the effects' posterior variances (the prior
    variance and effect 0 for a picture never shown).
  """
  num_items = clicks.num_images
  x = clicks.design[:, : len(mean_precision)]
  mean = np.zeros(x.shape[1])
  item = np.zeros(num_items)
  total = np.full(num_items, item_precision)
  for _ in range(_NEWTON_STEPS):
    p = logistic(offset + x @ mean + item[clicks.image])
    gap, w = clicks.label - p, p * (1 - p)
    total = item_precision + _sum_by(clicks.image, w, num_items)
    item_gradient = _sum_by(clicks.image, gap, num_items)
    item_gradient -= item_precision * item
    cross = np.stack(
      [_sum_by(clicks.image, w * column, num_items) for column in x.T]
    )
    # The items' block is diagonal: eliminate it (Schur complement).
    schur = x.T @ (w[:, None] * x) + np.diag(mean_precision)
    schur -= (cross / total) @ cross.T
    gradient = x.T @ gap - mean_precision * mean
    gradient -= (cross / total) @ item_gradient
    mean_step = np.linalg.solve(schur, gradient)
    item = item + (item_gradient - mean_step @ cross) / total
    mean = mean + mean_step
  return mean, item, 1 / total


def _sum_by(
  key: Int[np.ndarray, " n"], value: Float[np.ndarray, " n"], size: int
) -> Float[np.ndarray, " size"]:
  return np.bincount(key, value, minlength=size)


def _by_user(
  clicks: Clicks, offset: Float[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Pads each user's impressions to the same number: [N, S, ...] arrays."""
  order = np.argsort(clicks.user, kind="stable")
  user = clicks.user[order]
  count = np.bincount(user, minlength=clicks.num_users)
  slot = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
  shape = (clicks.num_users, int(count.max()))
  design = np.zeros((*shape, clicks.design.shape[1]))
  design[user, slot] = clicks.design[order]
  fixed, label, real = np.zeros(shape), np.zeros(shape), np.zeros(shape)
  fixed[user, slot] = offset[order]
  label[user, slot] = clicks.label[order]
  real[user, slot] = 1.0
  return design, fixed, label, real
