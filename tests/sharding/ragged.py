"""What `jax.lax.ragged_all_to_all` promises, by means that a CPU has."""

import jax
import jax.numpy as jnp


def all_to_all(
  operand,
  output,
  input_offsets,
  send_sizes,
  output_offsets,
  recv_sizes,
  *,
  axis_name,
):
  """Copies the pieces; all is NaN or -2 where the sizes contradict."""
  me = jax.lax.axis_index(axis_name)

  def of_all(x):
    return jax.lax.all_gather(x, axis_name)

  sizes = of_all(send_sizes)[:, me]
  pieces = zip(
    of_all(operand),
    of_all(input_offsets)[:, me],
    sizes,
    of_all(output_offsets)[:, me],
    strict=True,
  )
  places = jnp.arange(len(operand))
  for theirs, first, size, lands in pieces:
    source = jnp.where(places < size, first + places, len(operand))
    piece = theirs.at[source].get(mode="fill", fill_value=0)
    target = jnp.where(places < size, lands + places, len(output))
    output = output.at[target].set(piece, mode="drop")
  wrong = jnp.nan if jnp.issubdtype(output.dtype, jnp.floating) else -2
  return jnp.where(jnp.all(sizes == recv_sizes), output, wrong)
