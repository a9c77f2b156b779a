"""Feature extraction beside the bare encoder: what decoding and storing cost.

python -m benchmarks.extract [--backbone=vgg16] [--pictures=512] [--pairs=5]

Extraction reads, hashes, decodes and encodes the sample's photographs and
writes their features to an empty store. The bare encoder gets ready pixels, in
calls of the same size. Both run in turn, compiled before; a pair's ratio is
theirs alone.
"""

import argparse
import tempfile
import time

import numpy as np

from benchmarks import report
from dicm_jax import features
from dicm_jax.data import images, sample
from dicm_jax.model import backbone as backbone_lib

BLOCK = 64


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--backbone", default="squeezenet")
  parser.add_argument("--pictures", type=int, default=512)
  parser.add_argument("--pairs", type=int, default=5)
  args = parser.parse_args()
  pictures = sample.load_catalogue().pictures[: args.pictures]
  backbone = backbone_lib.make(args.backbone)
  pixels = images.decode_all(
    pictures, [""] * len(pictures), backbone.image_size
  )
  encode = features.Encoder(backbone, BLOCK)
  encode(pixels[:BLOCK])  # Compiles.
  pairs = [
    (_bare(encode, pixels), _extraction(encode, pictures))
    for _ in range(args.pairs)
  ]
  bare, whole = np.array(pairs).T
  ratios = bare / whole
  count = len(pictures)
  print(f"{args.backbone}, {count} pictures, {args.pairs} pairs")
  print(f"bare encoder {count / np.median(bare):8.1f} pictures a second")
  print(f"extraction   {count / np.median(whole):8.1f} pictures a second")
  quartiles = np.quantile(ratios, (0.25, 0.75)).tolist()
  report.emit(
    value=float(np.median(ratios)),
    unit="rate of extraction / rate of the bare encoder",
    goal=">= 0.90",
    details={
      "backbone": args.backbone,
      "pictures": count,
      "quartiles": quartiles,
      "bare_per_s": count / float(np.median(bare)),
      "extraction_per_s": count / float(np.median(whole)),
    },
  )


def _bare(encode, pixels) -> float:
  start = time.perf_counter()
  for first in range(0, len(pixels), BLOCK):
    encode(pixels[first : first + BLOCK])
  return time.perf_counter() - start


def _extraction(encode, pictures) -> float:
  names = [str(i) for i in range(len(pictures))]
  with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    store = features.open_store(folder, encode.backbone)
    features.extract(pictures, names, encode, store)
    return time.perf_counter() - start


if __name__ == "__main__":
  main()
