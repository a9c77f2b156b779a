"""Room for arrays of varying size: few sizes, so few compilations."""

from collections.abc import Sequence

from dicm_jax.data.device_slice import Slice

Capacities = dict[str, int]
"""Room for each ragged array of a batch, by the array's name."""


def rung(size: int, *, least: int = 16) -> int:
  """Smallest of 16, 20, 24, 28, 32, 40, 48, ... that is >= size.

  Four rungs an octave: at most a fifth of the room is left empty, and a
  doubling of what a batch needs costs four compilations.

  >>> [rung(n) for n in (0, 17, 33, 1000, 1025)]
  [16, 20, 40, 1024, 1280]
  """
  if size <= least:
    return least
  step = 1 << max((size - 1).bit_length() - 3, 0)
  return -(-size // step) * step


def with_spare(sizes: Sequence[Capacities]) -> Capacities:
  """Room for arrays of these sizes and of up to 5 % more."""
  needs = largest(sizes)
  return {name: rung(int(need * 1.05)) for name, need in needs.items()}


def largest(sizes: Sequence[Capacities]) -> Capacities:
  """Largest size of each array."""
  return {name: max(each[name] for each in sizes) for name in sizes[0]}


def sizes_of(piece: Slice) -> Capacities:
  """Size of each ragged array of a slice."""
  fields = {f"ids.{k}": len(v.value) for k, v in piece.lists.items()}
  return fields | {
    "id_rows": len(piece.id_rows),
    "image_rows": len(piece.image_rows),
    "groups": len(piece.history_length),
    "behaviours": len(piece.behaviours.value),
    "image_pairs": len(piece.image_pairs.value),
    "id_pairs": len(piece.id_pairs.value),
  }
