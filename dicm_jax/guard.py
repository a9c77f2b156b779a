"""A step changes nothing where a number of it is out of bounds.

A step first works out what it would write. Only if all of that is finite, and
what it comes from, on all devices, is it written; else the step is *refused*:
parameters, slots and rows keep their values. The step number says so: it turns
to minus the number of the refused step, and all later steps are refused too.
So a loss may be read late: what was learned before is still there.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

Tree = TypeVar("Tree", bound=PyTree)


def is_finite(tree: PyTree) -> Bool[Array, ""]:
  """Whether all numbers of all arrays are.

  They are looked at end to end: for each array by itself XLA makes code of its
  own, and takes twice as long to compile a step.
  """
  leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
  numbers = [
    leaf.astype(jnp.float32).reshape(-1)
    for leaf in leaves
    if jnp.issubdtype(leaf.dtype, jnp.floating)
  ]
  return jnp.isfinite(jnp.concatenate([jnp.zeros(1), *numbers])).all()


def goes_on(step: Int[Array, ""]) -> Bool[Array, ""]:
  """Whether no step before was refused."""
  return step >= 0


def kept(ok: Bool[Array, ""], new: Tree, old: Tree) -> Tree:
  """The new arrays, or the old ones of a step that is refused."""
  return jax.tree.map(lambda n, o: jnp.where(ok, n, o), new, old)


def number(ok: Bool[Array, ""], step: Int[Array, ""]) -> Int[Array, ""]:
  """Step number after a step, from that before it."""
  refused = jnp.where(goes_on(step), -(step + 1), step)
  return jnp.where(ok, step + 1, refused)


def reported(ok: Bool[Array, ""], loss: Float[Array, ""]) -> Float[Array, ""]:
  """The loss as it is told: of a refused step never a finite number."""
  return jnp.where(ok | ~jnp.isfinite(loss), loss, jnp.nan)


def refused_at(step: int | jax.Array) -> int | None:
  """Number of the refused step, from a state's step number; None: none was.

  >>> refused_at(-37), refused_at(36)
  (37, None)
  """
  return -int(step) if int(step) < 0 else None
