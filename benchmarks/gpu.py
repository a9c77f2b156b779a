"""What one GPU makes of the parts of a step, beside what it can do at best.

python -m benchmarks.gpu [--small]

Ceilings first: measured rates of one large copy and of products of matrices.
Then the encoder of pixels mode (VGG16 to fc6, 224 pixels) in float32 and
bfloat16; rows of 4096 numbers gathered from a content table; rows of ids looked
up and updated; distinct rows found on the device and on the host; and whole
steps, with features and with pixels. The last line's value is the share of the
measured bfloat16 rate of products that VGG16 in bfloat16 reaches.

With --small all is cut down to what a CPU can do: to try the program.
"""

import argparse
from collections.abc import Callable
import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report, variants
from benchmarks.peers import workload
from dicm_jax import ahead, experiment, optim, train
from dicm_jax.data import sample
from dicm_jax.model import backbone as backbone_lib
from dicm_jax.planning import flops
from dicm_jax.sharding import table


@dataclasses.dataclass(frozen=True)
class Size:
  """How much of each there is."""

  copy: int
  """Numbers of the array that is copied."""
  side: int
  """Of the square matrices."""
  pictures: int
  """That the encoder sees at a time."""
  rows: int
  """Of the content table."""
  wanted: int
  """Rows read of it."""
  ids: int
  """Rows of the ID table."""
  touched: int
  """Of them looked up and updated."""
  steps: int
  batch: int
  pixels_batch: int
  backbone: str


FULL = Size(
  copy=1 << 30,
  side=8192,
  pictures=256,
  rows=1 << 20,
  wanted=1 << 15,
  ids=20_000_000,
  touched=1_400_000,
  steps=60,
  batch=4096,
  pixels_batch=4096,
  backbone="vgg16",
)
SMALL = Size(
  copy=1 << 22,
  side=512,
  pictures=2,
  rows=1 << 12,
  wanted=1 << 9,
  ids=100_000,
  touched=10_000,
  steps=4,
  batch=1024,
  pixels_batch=64,
  backbone="squeezenet",
)


def seconds(
  function: Callable, *arguments, least_s: float = 0.5, most: int = 200
) -> float:
  """Mean time of a call, of as many as fill half a second, after two."""
  for _ in range(2):
    jax.block_until_ready(function(*arguments))
  start = time.perf_counter()
  jax.block_until_ready(function(*arguments))
  once = time.perf_counter() - start
  count = max(1, min(most, int(least_s / max(once, 1e-6))))
  start = time.perf_counter()
  for _ in range(count):
    out = function(*arguments)
  jax.block_until_ready(out)
  return (time.perf_counter() - start) / count


def ceilings(size: Size) -> dict[str, float]:
  """Bytes copied a second, read and written; FLOPs of products a second."""
  numbers = jnp.ones(size.copy, jnp.float32)
  copy = seconds(jax.jit(lambda x: x + 1), numbers)
  found = {"copy_bytes_per_s": 2 * numbers.nbytes / copy}
  keys = jax.random.split(jax.random.key(0))
  square = (size.side, size.side)
  for dtype in (jnp.float32, jnp.bfloat16):
    a, b = (jax.random.normal(key, square, dtype) for key in keys)
    product = seconds(jax.jit(jnp.matmul), a, b)
    name = f"product_{jnp.dtype(dtype).name}_flops_per_s"
    found[name] = 2 * size.side**3 / product
  return found


def encoder(size: Size) -> dict[str, Any]:
  """Pictures a second of the frozen encoder, and how far bfloat16 is off."""
  found: dict[str, Any] = {}
  features = {}
  for dtype in ("float32", "bfloat16"):
    made = backbone_lib.make(size.backbone, weights="random", dtype=dtype)
    shape = (size.pictures, made.image_size, made.image_size, 3)
    drawn = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pixels = jnp.asarray(drawn)
    apply = jax.jit(made.apply)
    took = seconds(apply, made.params, pixels)
    work = flops.count(made.apply, made.params, pixels)
    found[dtype] = {
      "pictures_per_s": size.pictures / took,
      "flops_per_s": work / took,
    }
    features[dtype] = np.asarray(apply(made.params, pixels))
  off = features["bfloat16"] - features["float32"]
  found["bfloat16_error"] = float(
    np.linalg.norm(off) / np.linalg.norm(features["float32"])
  )
  return found


def gather(size: Size) -> dict[str, float]:
  """Bytes a second, read and written, of distinct rows of 4096 numbers."""
  found = {}
  rng = np.random.default_rng(0)
  chosen = np.sort(rng.choice(size.rows, size.wanted, replace=False))
  rows = jnp.asarray(chosen.astype(np.int32))
  for dtype in (jnp.float32, jnp.bfloat16):
    shard = jnp.zeros((table.BUCKETS, size.rows // table.BUCKETS, 4096), dtype)
    took = seconds(jax.jit(table.read), shard, rows)
    moved = 2 * size.wanted * 4096 * jnp.dtype(dtype).itemsize
    found[jnp.dtype(dtype).name] = moved / took
  return found


def id_rows(size: Size) -> dict[str, float]:
  """Milliseconds to look rows of ids up, and to update them by Adagrad."""
  rng = np.random.default_rng(0)
  chosen = np.sort(rng.choice(size.ids, size.touched, replace=False))
  rows = jnp.asarray(chosen.astype(np.int32))
  slots = table.slots(size.ids)
  ids = jnp.zeros((table.BUCKETS, slots, 12), jnp.float32)
  config = variants.config_of(variants.Variant("dicm"), 0).sparse_optimizer
  sparse = optim.make_sparse(config)
  gradients = jnp.ones((size.touched, 12), jnp.float32)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def update(ids, state, rows, gradients):
    return optim.update_rows(sparse, ids, state, rows, gradients, before=state)

  held = [ids, jax.jit(sparse.init)(ids)]

  def once():
    held[:] = update(*held, rows, gradients)
    return held[0]

  look_up = seconds(jax.jit(table.read), held[0], rows)
  return {"look_up_ms": 1e3 * look_up, "update_ms": 1e3 * seconds(once)}


def distinct(size: Size) -> dict[str, float]:
  """Milliseconds to find distinct rows and each one's place among them."""
  rng = np.random.default_rng(0)
  drawn = rng.zipf(1.2, 2 * size.touched).astype(np.int64) % size.ids
  values = drawn.astype(np.int32)
  start = time.perf_counter()
  rows, _ = np.unique(values, return_inverse=True)
  on_host = time.perf_counter() - start
  on_device = jax.jit(
    lambda x: jnp.unique(
      x, return_inverse=True, size=len(rows), fill_value=table.EMPTY
    )
  )
  return {
    "values": len(values),
    "distinct": len(rows),
    "numpy_ms": 1e3 * on_host,
    "device_ms": 1e3 * seconds(on_device, jnp.asarray(values)),
  }


def step_of(x: experiment.Experiment, *, asks_ahead: bool) -> Callable:
  """(state, pair of batches) -> (state, loss)."""
  if asks_ahead:
    return ahead.Steps(x.program, x.state, x.content)
  step = train.make_train_step(x.program, x.state)
  return lambda state, pair: step(state, x.content, pair[0])


def timed_steps(
  x: experiment.Experiment, count: int, *, asks_ahead: bool = False
) -> dict[str, float]:
  """Milliseconds of a step on batches that lie on the device, and with input.

  The first: the device's part alone. The second: batches are made, laid out
  and trained on, as the loop does it.
  """
  step = step_of(x, asks_ahead=asks_ahead)
  state = jax.tree.map(lambda leaf: leaf.copy(), x.state)
  batches = list(x.batches(0, 8))
  few = list(zip(batches, batches[1:] + batches[:1], strict=True))
  for pair in few:
    state, loss = step(state, pair)
  jax.block_until_ready(state)
  start = time.perf_counter()
  for i in range(count):
    state, loss = step(state, few[i % len(few)])
  jax.block_until_ready(state)
  alone = (time.perf_counter() - start) / count
  pairs = ahead.pairs(x.batches(8, 8 + 2 * count))
  before = None
  for i, pair in enumerate(pairs):
    if i == count:  # What was made ahead of time does not count.
      jax.block_until_ready(state)
      start = time.perf_counter()
    state, loss = step(state, pair)
    if before is not None:
      float(before)
    before = loss
  jax.block_until_ready(state)
  whole = (time.perf_counter() - start) / count
  assert np.isfinite(float(loss))
  return {"step_ms": 1e3 * alone, "with_input_ms": 1e3 * whole}


def steps(size: Size) -> dict[str, Any]:
  """Whole steps of configs/dicm.py."""
  found: dict[str, Any] = {}
  for dtype in ("float32", "bfloat16"):
    values = {"image.dtype": dtype, "train.batch_size": size.batch}
    x = workload.build(features=4096, file="dicm", values=values)
    found[f"features {dtype}"] = timed_steps(x, size.steps)
  data = sample.generate(0).dataset
  for dtype in ("float32", "bfloat16"):
    values = {
      "image.backbone": size.backbone,
      "image.weights": "random",
      "image.mode": "pixels",
      "image.dtype": dtype,
      "train.batch_size": size.pixels_batch,
      "image.chunk": min(256, size.pixels_batch),
    }
    x = workload.build(data=data, values=values, file="dicm")
    few = max(2, size.steps // 6)
    for asks_ahead in (False, True):
      name = f"pixels {dtype}" + (", next batch ahead" if asks_ahead else "")
      found[name] = timed_steps(x, few, asks_ahead=asks_ahead)
      found[name]["distinct_images"] = workload.sizes(x)["distinct_images"]
      print(name, found[name], flush=True)
  return found


PARTS: dict[str, Callable[[Size], dict[str, Any]]] = {
  "ceilings": ceilings,
  "encoder": encoder,
  "gather": gather,
  "id_rows": id_rows,
  "distinct": distinct,
  "steps": steps,
}


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--small", action="store_true")
  size = SMALL if parser.parse_args().small else FULL
  found = {}
  for name, part in PARTS.items():
    start = time.perf_counter()
    found[name] = part(size)
    took = time.perf_counter() - start
    print(f"{name} ({took:.0f} s): {found[name]}", flush=True)
  best = found["ceilings"]
  report.emit(
    value=found["encoder"]["bfloat16"]["flops_per_s"]
    / best["product_bfloat16_flops_per_s"],
    unit="FLOPs a second of VGG16 / of products of matrices, bfloat16",
    goal=None,
    details={
      "gather_share_of_copy": {
        dtype: rate / best["copy_bytes_per_s"]
        for dtype, rate in found["gather"].items()
      },
      "small": size is SMALL,
      **found,
    },
  )


if __name__ == "__main__":
  main()
