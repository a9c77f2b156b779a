"""Losses of a few steps on the GPU and on the CPU of one machine, as JSON.

python -m tests.gpu_losses, with JAX_PLATFORMS=cuda,cpu
"""

import json

import jax

from dicm_jax import experiment
from tests import toy
from tests.ahead_test import run_ahead

STEPS = 12
PIXELS = {"image__mode": "pixels", "image__chunk": 8}
VARIANTS = {
  "features": {},
  "features bfloat16": {"image__dtype": "bfloat16"},
  "pixels": PIXELS,
  "pixels bfloat16": PIXELS | {"image__dtype": "bfloat16"},
  "ahead": PIXELS | {"train__ahead": True},
  "host": {"image__tier": "host"},
}


def losses(platform: str, options: dict) -> list[float]:
  x = experiment.build(
    toy.values(**options), data=toy.dataset(), devices=jax.devices(platform)[:1]
  )
  if x.program.mesh.devices.flat[0].platform != platform:
    raise ValueError(f"expected a mesh of {platform}")
  run = run_ahead if options.get("train__ahead") else toy.run
  return run(x, STEPS)[1].tolist()


if __name__ == "__main__":
  # TF32 would be off by more than the order of sums is.
  with jax.default_matmul_precision("highest"):
    found = {
      name: {p: losses(p, options) for p in ("gpu", "cpu")}
      for name, options in VARIANTS.items()
    }
  print(json.dumps(found))
