"""How a benchmark says what it measured: a table, then one line of JSON."""

from collections.abc import Mapping, Sequence
import importlib.metadata
import json
import os
import platform
import re
from typing import NamedTuple

import jax
import numpy as np

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


class Figure(NamedTuple):
  """A number that a benchmark finds, and what it ought to be."""

  unit: str
  value: float
  goal: str | None = None
  """One relation, e.g. '<= 1.1'."""
  spread: tuple[float, float] | None = None
  """Quartiles over the rounds; None: nothing was repeated."""


def row(name: str, values: Sequence[float], *, digits: int = 4) -> str:
  return f"{name:24}" + "".join(f"{v:12.{digits}f}" for v in values)


def spread(values: Sequence[float]) -> str:
  """Mean and half the range, e.g. '0.7012 +- 0.0031'."""
  return f"{np.mean(values):.4f} +- {(max(values) - min(values)) / 2:.4f}"


def met(value: float, goal: str | None) -> bool | None:
  """Whether a value meets a goal; None: there is none, or one in words.

  >>> met(1.05, "<= 1.1"), met(1.2, "<= 1.1"), met(1.2, None)
  (True, False, None)
  """
  found = re.fullmatch(r"([<>])(=?) ([\d.]+)", goal or "")
  if not found:
    return None
  bound = float(found[3])
  if value == bound:
    return bool(found[2])
  return value < bound if found[1] == "<" else value > bound


def emit(
  *,
  value: float,
  unit: str,
  goal: str | None,
  details: Mapping,
  spread: tuple[float, float] | None = None,
  others: Sequence[Figure] = (),
) -> None:
  """Prints the line of JSON that ends every benchmark.

  Args:
    value: the benchmark's figure.
    unit: what it is.
    goal: as in `Figure`.
    details: what else there is to say, by name.
    spread: as in `Figure`.
    others: figures besides the first.
  """
  device = jax.devices()[0]
  print(
    json.dumps(
      {
        "value": value,
        "unit": unit,
        "goal": goal,
        "spread": spread,
        "others": [figure._asdict() for figure in others],
        "device": f"{device.device_kind} ({platform.machine()})",
        "cores": os.cpu_count(),
        "devices": jax.device_count(),
        "versions": {p: importlib.metadata.version(p) for p in PACKAGES},
        **details,
      }
    )
  )
