"""Losses of a few steps on the GPU and on the CPU of one machine, as JSON.

python -m tests.gpu_losses, with JAX_PLATFORMS=cuda,cpu
"""

import json

import jax
import jax.numpy as jnp

from dicm_jax import experiment
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import route
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


def ragged_comes_back() -> bool:
  """Whether a ragged exchange of one GPU with itself keeps what was sent."""
  mesh = mesh_lib.make_mesh(1, 1, jax.devices("gpu")[:1])
  way = route.Route(
    name="t", axes=mesh_lib.BOTH, owners=1, capacity=6, spill=1, ragged=True
  )
  piece = jnp.arange(18.0).reshape(1, 6, 3)
  four = jnp.array([4], jnp.int32)

  def on_device(piece):
    return route._exchange(way, "t", piece, (four, four), fill=-1)

  spec = mesh_lib.REPLICATED
  got = jax.jit(
    jax.shard_map(
      on_device, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
    )
  )(piece)
  return bool((got == piece.at[:, 4:].set(-1)).all())


if __name__ == "__main__":
  # TF32 would be off by more than the order of sums is.
  with jax.default_matmul_precision("highest"):
    found = {
      name: {p: losses(p, options) for p in ("gpu", "cpu")}
      for name, options in VARIANTS.items()
    }
  print(json.dumps(found | {"ragged": ragged_comes_back()}))
