"""How a benchmark says what it measured: a table, then one line of JSON."""

from collections.abc import Mapping, Sequence
import importlib.metadata
import json
import platform

import jax
import numpy as np

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def row(name: str, values: Sequence[float], *, digits: int = 4) -> str:
  return f"{name:24}" + "".join(f"{v:12.{digits}f}" for v in values)


def spread(values: Sequence[float]) -> str:
  """Mean and half the range, e.g. '0.7012 +- 0.0031'."""
  return f"{np.mean(values):.4f} +- {(max(values) - min(values)) / 2:.4f}"


def emit(
  *, value: float, unit: str, goal: str | None, details: Mapping
) -> None:
  """Prints the line of JSON that ends every benchmark."""
  device = jax.devices()[0]
  print(
    json.dumps(
      {
        "value": value,
        "unit": unit,
        "goal": goal,
        "device": f"{device.device_kind} ({platform.machine()})",
        "devices": jax.device_count(),
        "versions": {p: importlib.metadata.version(p) for p in PACKAGES},
        **details,
      }
    )
  )
