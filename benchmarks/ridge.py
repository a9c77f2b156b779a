"""Ridge regression of visual attributes on frozen features."""

import dataclasses

from jaxtyping import Bool, Float
import numpy as np

# Multiples of the features' mean squared norm: from nearly none to so much
# that only the mean is left.
_STRENGTHS = np.logspace(-5, 2, 29)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ridge:
  """Predictions of one regression for each attribute."""

  predicted: Float[np.ndarray, "R A"]
  """For a picture of the fit, what a fit without that picture says."""
  residual_variance: Float[np.ndarray, " A"]
  """Mean squared leave-one-out error."""
  r2_seen: Float[np.ndarray, " A"]
  """Leave-one-out share of the variance explained, pictures of the fit."""
  r2_cold: Float[np.ndarray, " A"]
  """Share explained on all other pictures; NaN where there are none."""


def fit(
  features: Float[np.ndarray, "R F"],
  target: Float[np.ndarray, "R A"],
  seen: Bool[np.ndarray, " R"],
) -> Ridge:
  """Fits on the seen pictures, predicts all.

  The strength of each attribute's penalty is the one with the least
  leave-one-out error. Seen pictures get their leave-one-out prediction:
  their own target went into the fit, and no model is told it.

  Args:
    features: frozen features of all pictures.
    target: attributes of all pictures; only those of seen ones are used to
      fit.
    seen: pictures to fit on, at least 3.

  Returns:
    Predictions and how good they are.
  """
  standard = _standardised(features, seen)
  mean = target[seen].mean(0)
  centred = target - mean
  left, singular, right = np.linalg.svd(standard[seen], full_matrices=False)
  inner = left.T @ centred[seen]
  # Directions without variance would divide 0 by 0.
  squared = np.maximum(singular**2, 1e-12)
  out = np.empty_like(target)
  residual = np.empty(target.shape[1])
  for k in range(target.shape[1]):
    penalties = _STRENGTHS * squared.mean()
    errors = [
      _leave_one_out_error(left, squared, inner[:, k], centred[seen, k], p)
      for p in penalties
    ]
    best = int(np.argmin([np.mean(e**2) for e in errors]))
    shrunk = singular / (squared + penalties[best]) * inner[:, k]
    out[:, k] = standard @ (right.T @ shrunk)
    out[seen, k] = centred[seen, k] - errors[best]
    residual[k] = np.mean(errors[best] ** 2)
  out += mean
  return Ridge(
    predicted=out,
    residual_variance=residual,
    r2_seen=_r2(target, out, seen),
    r2_cold=_r2(target, out, ~seen),
  )


def _standardised(
  features: Float[np.ndarray, "R F"], seen: Bool[np.ndarray, " R"]
) -> Float[np.ndarray, "R F"]:
  x = features.astype(np.float64)
  deviation = x[seen].std(0)
  return (x - x[seen].mean(0)) / np.where(deviation > 1e-9, deviation, 1.0)


def _leave_one_out_error(
  left: Float[np.ndarray, "s k"],
  squared: Float[np.ndarray, " k"],
  inner: Float[np.ndarray, " k"],
  target: Float[np.ndarray, " s"],
  penalty: float,
) -> Float[np.ndarray, " s"]:
  """Residuals as if each picture had been left out: r / (1 - leverage)."""
  keep = squared / (squared + penalty)
  # The mean is fitted too: 1 / s of leverage for each picture.
  leverage = (left**2) @ keep + 1 / len(target)
  return (target - left @ (keep * inner)) / (1 - leverage)


def _r2(
  target: Float[np.ndarray, "R A"],
  predicted: Float[np.ndarray, "R A"],
  rows: Bool[np.ndarray, " R"],
) -> Float[np.ndarray, " A"]:
  if rows.sum() < 2:
    return np.full(target.shape[1], np.nan)
  error = np.mean((target - predicted)[rows] ** 2, axis=0)
  return 1 - error / target[rows].var(0)
