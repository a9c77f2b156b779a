"""Random data in the formats of the XDL CrossMedia example.

An equivalent of the example's two generators: samples with random ids and
labels, and images whose features are unit normal noise. Nothing can be learned
from them; they show that a whole pipeline runs.

python -m dicm_jax.data.readers.xdl_example FOLDER
"""

import argparse
import pathlib

import numpy as np

from dicm_jax.data.readers import framing, xdl_records, xdl_write

START = 1_540_000_000
"""Seconds since 1970 of the first sample."""


def generate(
  folder: pathlib.Path,
  *,
  seed: int = 0,
  samples: int = 20_000,
  images: int = 4096,
  files: int = 64,
  width: int = framing.WIDTH,
) -> None:
  """Writes samples.txt and the folder images.

  Args:
    folder: made if missing.
    seed: of all draws.
    samples: lines of samples.txt, in groups of 1 to 8.
    images: image ids 1..images.
    files: image record files (the example: 1024).
    width: numbers of an image.
  """
  folder.mkdir(parents=True, exist_ok=True)
  rng = np.random.Generator(np.random.PCG64(seed))
  lines: list[xdl_write.Line] = []
  group = 0
  while len(lines) < samples:
    user = {
      "user0": _weighted(rng, 1, 32, 1000),
      "user1": _weighted(rng, 1, 32, 1000),
      "user_img": _weighted(rng, 1, 32, images),
    }
    for _ in range(rng.integers(1, 9)):
      lines.append(_line(rng, len(lines), group, user, images))
    group += 1
  xdl_write.write(folder / "samples.txt", lines[:samples])
  ids = np.arange(1, images + 1)
  vectors = rng.standard_normal((images, width), np.float32)
  xdl_records.write(folder / "images", ids, vectors, files)


def _line(rng, number: int, group: int, user, images: int) -> xdl_write.Line:
  ad = {
    "ad0": [round(float(rng.random()), 6)],
    "ad1": _weighted(rng, 1, 2, 1000),
    "ad_img": _weighted(rng, 1, 2, images),
  }
  return xdl_write.Line(
    skey=f"skey{number}",
    group=f"gkey{group}",
    user=user,
    ad=ad,
    labels=[float(rng.random())],
    time=START + group,
  )


def _weighted(rng, least: int, below: int, ids: int) -> list[tuple[str, float]]:
  """Random ids 1..ids with weights."""
  chosen = rng.integers(1, ids + 1, rng.integers(least, below)).tolist()
  return [(str(i), round(float(rng.random()), 4)) for i in chosen]


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("folder", type=pathlib.Path)
  parser.add_argument("--samples", type=int, default=20_000)
  parser.add_argument("--files", type=int, default=64)
  args = parser.parse_args()
  generate(args.folder, samples=args.samples, files=args.files)
