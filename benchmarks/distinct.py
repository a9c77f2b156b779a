"""Is an owner's work proportional to the distinct images it is asked for?

python -m benchmarks.distinct [--mode=features|pixels]

The owners' part of a step alone: features read (or pictures encoded), image
layers run, and their gradient pulled back. Twice over the same samples, whose
pictures are drawn anew: once from all, once from half as many. `features`: 4096
numbers a picture, as VGG16 gives; `pixels`: SqueezeNet inside the step. The two
take turns; the last line's value is the median over the rounds of time(half) /
time(all).
"""

import argparse
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report, table_size, variants
from benchmarks.peers import runs, workload
from dicm_jax import experiment, on_mesh, owners
from dicm_jax import state as state_lib
from dicm_jax.data import click_log, feature_files, sample
from dicm_jax.sharding import mesh as mesh_lib

FEATURES = 4096
CHUNK = {"features": 256, "pixels": 16}
"""Images that an owner embeds at a time: its work comes in whole chunks."""
PICTURES = {"features": 2048, "pixels": 128}
"""Pictures in the data, in all; they and their half are whole chunks."""
ROUNDS = {"features": 25, "pixels": 7}


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--mode", choices=tuple(CHUNK), default="features")
  mode = parser.parse_args().mode
  numbers = PICTURES[mode], PICTURES[mode] // 2
  made = [embedding_part(build(mode, number)) for number in numbers]
  times = table_size.take_turns(made, warm_up=2, rounds=ROUNDS[mode])
  ratio = runs.quartiles(times[:, 1] / times[:, 0])
  sizes = [workload.sizes(run.x) for run in made]
  for size, column in zip(sizes, times.T, strict=True):
    name = f"{size['samples']} samples, {size['distinct_images']} images"
    print(table_size.line(name, column))
  report.emit(
    value=ratio[1],
    unit="time of the owners' part at half of the distinct images / at all",
    goal="<= 0.55",
    spread=(ratio[0], ratio[2]),
    details={
      "mode": mode,
      "median_ms": [float(1e3 * np.median(c)) for c in times.T],
      "rounds": ROUNDS[mode],
      "chunk": CHUNK[mode],
      "sizes": sizes,
    },
  )


def build(mode: str, pictures: int) -> experiment.Experiment:
  """The work with so many pictures in all."""
  data = sample.generate(0).dataset
  data = workload.with_histories(data, workload.BEHAVIOURS)
  data = with_pictures(data, PICTURES[mode], pictures)
  values = {"image.chunk": CHUNK[mode], "image.mode": mode}
  if mode == "features":
    values["image.backbone"] = feature_files.PRECOMPUTED
    data = workload.with_vectors(data, FEATURES)
  config = variants.config_of(variants.Variant(values=values), 0)
  return experiment.build(config, data=data)


def with_pictures(
  data: click_log.Dataset, total: int, number: int
) -> click_log.Dataset:
  """The same samples with pictures drawn from the first `number` of `total`."""
  rng = np.random.default_rng(0)

  def draw(rows):
    return rng.integers(0, total, len(rows)) % number

  def drawn(log: click_log.ClickLog) -> click_log.ClickLog:
    history = log.behaviour_images
    return dataclasses.replace(
      log,
      ad_image=draw(log.ad_image),
      behaviour_images=history._replace(values=draw(history.values)),
    )

  repeat = -(-total // len(data.image_names))
  return dataclasses.replace(
    data,
    train=drawn(data.train),
    test=drawn(data.test),
    image_names=(tuple(data.image_names) * repeat)[:total],
    image_bytes=(tuple(data.image_bytes) * repeat)[:total],
  )


def embedding_part(x: experiment.Experiment) -> runs.Run:
  """The owners' part of a step; nothing learns, the state stays."""

  def on_device(program, state, content, batch):
    asked = owners.ask(program, content, batch)
    served = owners.answer(program, state, content, asked)
    of_images = jnp.ones_like(served.image_vectors)
    layers = owners.pull_back(program, state, served, of_images)
    return served.image_vectors.sum() + sum(
      leaf.sum() for leaf in jax.tree.leaves(mesh_lib.total(layers))
    )

  part = jax.jit(
    on_mesh.run(
      x.program,
      on_device,
      state_lib.specs_of(x.state),
      mesh_lib.REPLICATED,
    )
  )
  return runs.of_jax(
    x,
    lambda state, content, batch: (state, part(state, content, batch)),
    x.state,
    x.content,
  )


if __name__ == "__main__":
  main()
