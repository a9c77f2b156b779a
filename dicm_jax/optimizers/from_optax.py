"""The optimisers of optax, by name."""

from collections.abc import Callable, Set
import inspect

import jax
import jax.numpy as jnp
import optax

from dicm_jax import errors

Rate = float | optax.Schedule
"""A learning rate, or its course over the steps."""

FIRST = "learning_rate"
"""First parameter of every optimiser of optax."""

Maker = Callable[..., optax.GradientTransformation]
"""learning_rate, ... -> optimiser."""


def makers() -> dict[str, Maker]:
  """All functions of optax that look like `adam(learning_rate, ...)`.

  What else is there, losses, schedules, clippings, is told by its signature
  alone; nothing is called.

  >>> {"adam", "lion"} <= makers().keys()
  True
  >>> {"huber_loss", "adaptive_grad_clip"} & makers().keys()
  set()
  """
  return {
    name: function
    for name, function in vars(optax).items()
    if inspect.isfunction(function)
    and not name.startswith(("_", "scale_by_"))  # Parts of optimisers.
    and next(iter(inspect.signature(function).parameters), "") == FIRST
  }


def options(key: str, name: str) -> Set[str]:
  """Names of all that an optimiser may be told.

  Args:
    key: as `make`.
    name: as `make`.

  Raises:
    InputError: no such optimiser.
  """
  return inspect.signature(_maker(key, name)).parameters.keys()


def make(
  key: str, name: str, rate: Rate, **given: float
) -> optax.GradientTransformation:
  """Makes an optimiser of optax.

  Args:
    key: the config key that the name is from, for error messages.
    name: e.g. adam.
    rate: the learning rate; a schedule is more than some optimisers take.
    **given: more that it is told, some of `options`.

  Raises:
    InputError: no such optimiser, or it needs more than a learning rate to be
      made or more than gradients and parameters to run.
  """
  maker = _maker(key, name)
  try:
    optimizer = maker(rate, **given)
    _trace(optimizer)
  # Whatever an optimiser raises that lacks something.
  except Exception as e:
    kind = "schedule" if callable(rate) else "learning rate"
    raise errors.InputError(
      f"{key}: expected an optimiser of optax that runs on a {kind} and "
      f"gradients alone, found {name!r}: {e}"
    ) from e
  return optimizer


def _maker(key: str, name: str) -> Maker:
  known = makers()
  if name not in known:
    raise errors.unknown_name(key, name, known)
  return known[name]


def _trace(optimizer: optax.GradientTransformation) -> None:
  """Goes through one update without computing it."""
  params = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
  jax.eval_shape(lambda p: optimizer.update(p, optimizer.init(p), p)[0], params)
