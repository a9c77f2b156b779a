"""Does a content table train that is larger than memory, and how fast?

python -m benchmarks.tiers [--rows=327680] [--limit_mb=1280] [--rounds=3]

Vectors of 4096 numbers, as VGG16's, for random clicks: 5.4 GB, four times what
a process may hold (RLIMIT_DATA: its own memory; pages of mapped files are the
system's). One process after another trains the default model on them: with the
table on the device and no limit, and mapped from a file, with the limit. Each
trains some steps before its clock starts, batches being made on the way. The
last line's value is the median over the rounds of the ratio of their rates.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import report, variants
from dicm_jax import experiment, train
from dicm_jax.data import click_log, feature_files, held_rows

WIDTH = 4096
BLOCK = 4096
GROUPS, SAMPLES, HISTORY = 20_000, 10, 20
BATCH = 1024
WARM_UP, STEPS = 8, 30


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--rows", type=int, default=327_680)
  parser.add_argument("--limit_mb", type=int, default=1280)
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--child", default="")
  args = parser.parse_args()
  if args.child:
    print(json.dumps(_measure(args.child, args.rows, args.limit_mb)))
    return
  table_mb = args.rows * WIDTH * 4 / 2**20
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "rows.npy"
    held_rows.write(
      path, _blocks(args.rows), (args.rows, WIDTH), np.dtype(np.float32)
    )
    found = {"device": [], "file": []}
    for _ in range(args.rounds):
      for tier, runs in found.items():  # In turn, as the machine changes.
        runs.append(_child(tier, path, args))
  for tier, runs in found.items():
    for run in runs:
      print(
        f"{tier:8}{run['steps_per_s']:8.2f} steps a second, "
        f"{run['peak_mb']:8.0f} MB of its own at most"
      )
  rates = {t: [r["steps_per_s"] for r in runs] for t, runs in found.items()}
  ratios = np.divide(rates["file"], rates["device"])
  low, middle, high = np.percentile(ratios, (25, 50, 75)).tolist()
  print(f"table {table_mb:.0f} MB, limit {args.limit_mb} MB")
  report.emit(
    value=middle,
    unit="rate of a table in a file, under the limit / of one on the device",
    goal=">= 0.7",
    spread=(low, high),
    details={
      "table_mb": table_mb,
      "limit_mb": args.limit_mb,
      "runs": found,
    },
  )


def _blocks(rows: int):
  """Random vectors, block by block."""
  for first in range(0, rows, BLOCK):
    rng = np.random.default_rng(first)
    yield rng.standard_normal((min(BLOCK, rows - first), WIDTH), np.float32)


def _child(tier: str, path: pathlib.Path, args) -> dict[str, float]:
  command = [sys.executable, "-m", "benchmarks.tiers", f"--child={tier}:{path}"]
  command += [f"--rows={args.rows}", f"--limit_mb={args.limit_mb}"]
  done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
  return json.loads(done.stdout.splitlines()[-1])


def _measure(child: str, rows: int, limit_mb: int) -> dict[str, float]:
  tier, path = child.split(":", 1)
  if tier == "file":
    limit = limit_mb << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
  values = {
    "image.backbone": feature_files.PRECOMPUTED,
    "image.tier": tier,
    "train.batch_size": BATCH,
  }
  config = variants.config_of(variants.Variant("quickstart", values), 0)
  x = experiment.build(config, data=_clicks(rows, pathlib.Path(path)))
  step, state = train.make_train_step(x.program, x.state), x.state
  start = time.perf_counter()
  for number, batch in enumerate(x.batches(0, WARM_UP + STEPS)):
    if number == WARM_UP:
      start = time.perf_counter()
    state, loss = step(state, x.content, batch)
    float(loss)  # As the loop does, which looks at every loss.
  seconds = time.perf_counter() - start
  return {"steps_per_s": STEPS / seconds, "peak_mb": _own_mb()}


def _own_mb() -> float:
  """Memory of the process now, without pages of files."""
  for line in pathlib.Path("/proc/self/status").read_text().splitlines():
    if line.startswith("RssAnon:"):
      return int(line.split()[1]) / 1024
  return 0.0


def _clicks(rows: int, path: pathlib.Path) -> click_log.Dataset:
  """Random clicks on random pictures."""
  rng = np.random.default_rng(0)
  log = click_log.ClickLog(
    user_ids={
      "user_id": click_log.Jagged(1 + np.arange(GROUPS), np.arange(GROUPS + 1))
    },
    ad_ids={"ad_id": 1 + rng.integers(0, rows, GROUPS * SAMPLES)},
    behaviour_images=click_log.Jagged(
      rng.integers(0, rows, GROUPS * HISTORY),
      np.arange(GROUPS + 1) * HISTORY,
    ),
    ad_image=rng.integers(0, rows, GROUPS * SAMPLES),
    label=(rng.random(GROUPS * SAMPLES) < 0.3).astype(np.float32),
    group=np.repeat(np.arange(GROUPS), SAMPLES),
    user=np.arange(GROUPS),
  )
  values = held_rows.mapped(path)
  return click_log.Dataset(
    features=(
      click_log.Feature(name="user_id", side="user", rows=GROUPS + 1),
      click_log.Feature(name="ad_id", side="ad", rows=rows + 1),
    ),
    train=log,
    test=log,
    image_names=tuple(map(str, range(rows))),
    image_bytes=(),
    held=lambda *_: held_rows.HeldRows(values),
  )


if __name__ == "__main__":
  main()
