"""A function of rows, computed for some of them at a time."""

from collections.abc import Callable, Iterator
import contextlib
import contextvars

import jax
import jax.numpy as jnp

CPU_ROWS, OTHER_ROWS = 1 << 14, 1 << 20
"""Rows at a time. 64 float32 of 16 384 rows are 4 MB, the caches of two cores:
`benchmarks/chunks.py` compares sizes. On a GPU, to which each chunk is a set of
small programs, they only bound the memory."""


_PLANNED: contextvars.ContextVar[str] = contextvars.ContextVar(
  "platform", default=""
)


@contextlib.contextmanager
def planned_for(platform: str) -> Iterator[None]:
  """Programs traced in here are for devices that need not be there."""
  token = _PLANNED.set(platform)
  try:
    yield
  finally:
    _PLANNED.reset(token)


def rows_at_a_time() -> int:
  """As many as suit the devices that programs are made for."""
  platform = _PLANNED.get() or jax.default_backend()
  return CPU_ROWS if platform == "cpu" else OTHER_ROWS


def in_chunks(
  function: Callable[..., jax.Array],
  *rows: jax.Array,
  size: int | None = None,
) -> jax.Array:
  """`function(*rows)` where each row's result depends on that row alone.

  What the function makes in between is made anew on the way back. So of a wide
  layer over many rows no more than a chunk is ever there: it stays in a CPU's
  cache, and takes no memory from one pass to the other.

  Args:
    function: of arrays of some rows.
    *rows: its arguments, all [n, ...].
    size: rows at a time, at most; None: `rows_at_a_time()`.
  """
  n = rows[0].shape[0]
  count = -(-n // (size or rows_at_a_time()))
  if count <= 1:
    return function(*rows)
  each = -(-n // count)

  def cut(x: jax.Array) -> jax.Array:
    pad = [(0, count * each - n)] + [(0, 0)] * (x.ndim - 1)
    return jnp.pad(x, pad).reshape(count, each, *x.shape[1:])

  once = jax.checkpoint(function)
  made = jax.lax.map(lambda chunk: once(*chunk), tuple(map(cut, rows)))
  return made.reshape(count * each, *made.shape[2:])[:n]
