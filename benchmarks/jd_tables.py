"""The JD.com talk's comparisons in kind, on the built-in sample.

python -m benchmarks.jd_tables [--seeds=5] [--out=runs/jd_tables.json]

Prints a table of the unified model, an LR and an embedding module, and one of
encoders trained on pairs, and says of each claim of the talk on CNN embeddings
for ad ranking (M. Li and Y. Wang, JD.com) whether it holds here. Clicks are
SIMULATED; a seed draws the world as well as the first weights. Intervals are
95 %, by Student's t over the seeds; a claim is judged by the paired
differences, seed by seed; one seed decides nothing. Stopped, it goes on with
what `--out` lacks: 11 runs a seed. Encoders lie in a folder beside it.
"""

import argparse
import functools
import pathlib
from typing import NamedTuple

from benchmarks import claims, encoders, kept, report, variants
from benchmarks.claims import Claim
from benchmarks.variants import Variant
from dicm_jax.data import sample
from dicm_jax.pairwise import config as pairwise_config


def _unified(structure: str, training: str, **values) -> Variant:
  # A DNN's own rate; the file's suits products.
  rate = {"dense_optimizer.learning_rate": 0.001} if structure == "dnn" else {}
  how = {"model.structure": structure, "model.training": training}
  return Variant("lr_unified", how | rate | values)


ALONE = "lr alone"
UNIFIED = {ALONE: Variant("lr_unified", {"model.images": "none"})} | {
  f"lr + {structure}, {training}": _unified(structure, training)
  for structure in ("dot", "product", "dnn")
  for training in ("joint", "apart")
}
TRAINED = "lr + product, joint, trained embeddings"
STRIDED, SEPARATE, POOLED = PAIRWISE = (
  "joint statistics, strided",
  "separate statistics, strided",
  "joint statistics, max pooling",
)
CHANGES = {
  STRIDED: {},
  SEPARATE: {"pairs.statistics": "separate"},
  POOLED: {"encoder.last": "max"},
}
FROZEN, BEST = "SqueezeNet, frozen", "best possible"
COLUMNS = {
  "gauc": "GAUC",
  "auc": "AUC",
  "auc_cold": "AUC, cold",
  "pair_accuracy": "pairs in order",
  "loss": "loss at the end",
  "zeros_map": "zeros, last map",
  "zeros": "zeros, embedding",
}
"""What heads a metric's column."""


class Table(NamedTuple):
  title: str
  columns: tuple[str, ...]
  variants: tuple[str, ...]


TABLES = (
  Table(
    "Unified model, on SqueezeNet's features unless said otherwise",
    ("gauc", "auc", "auc_cold"),
    (*UNIFIED, TRAINED),
  ),
  Table(
    "Encoders trained on pairs",
    ("pair_accuracy", "gauc", "loss", "zeros_map", "zeros"),
    (*PAIRWISE, FROZEN, BEST),
  ),
)
CLAIMS = (
  Claim(
    "structure 2, products, beats structure 1, the dot product",
    (("lr + product, joint", "lr + dot, joint"),),
  ),
  Claim(
    "structure 3, a DNN, beats structure 2",
    (("lr + dnn, joint", "lr + product, joint"),),
  ),
  Claim(
    "each structure adds to the LR, and so do trained embeddings",
    (
      ("lr + dot, joint", ALONE),
      ("lr + product, joint", ALONE),
      ("lr + dnn, joint", ALONE),
      (TRAINED, ALONE),
    ),
  ),
  Claim(
    "complementary training beats training apart",
    tuple(
      (f"lr + {structure}, joint", f"lr + {structure}, apart")
      for structure in ("dot", "product", "dnn")
    ),
  ),
  Claim(
    "joint statistics beat separate ones",
    ((STRIDED, SEPARATE),),
    "pair_accuracy",
  ),
  Claim(
    "a strided convolution beats pooling",
    ((STRIDED, POOLED),),
    "pair_accuracy",
  ),
  Claim("pooling makes embeddings sparser", ((POOLED, STRIDED),), "zeros_map"),
)


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument(
    "--seeds", type=int, default=5, choices=[1, *sorted(claims.T_95)]
  )
  parser.add_argument(
    "--out", type=pathlib.Path, default=pathlib.Path("runs/jd_tables.json")
  )
  args = parser.parse_args()
  by_seed = [measured(seed, args.out) for seed in range(args.seeds)]
  results = claims.by_variant(by_seed)
  for each in TABLES:
    print("\n".join(table(each, results)))
  for claim in CLAIMS:
    print("\n".join(claims.judged(claim, results, COLUMNS[claim.metric])))
  verdicts = {
    claim.text: claims.verdict(claims.gains(claim, results)) for claim in CLAIMS
  }
  report.emit(
    value=sum(verdict == "yes" for verdict in verdicts.values()),
    unit=f"of {len(CLAIMS)} claims hold",
    goal=None,
    details={"verdicts": verdicts, "results": results},
  )


def measured(seed: int, out: pathlib.Path) -> dict[str, kept.Scores]:
  """Scores of all variants in one world; keeps each as soon as it is there."""
  of_seed = kept.OfSeed(out, seed)
  data = sample.generate(seed).dataset
  of_seed.fill(FROZEN, lambda: encoders.of_squeezenet(data, seed))
  of_seed.fill(BEST, lambda: encoders.best_possible(data, seed))
  configs = {name: encoders.config_of(CHANGES[name], seed) for name in PAIRWISE}
  for name, config in configs.items():
    folder = _folder(out, config)
    train = functools.partial(encoders.trained, config, data, folder)
    of_seed.fill(name, train)
  on_embeddings = _on_embeddings(configs[STRIDED], out)
  for name, variant in (UNIFIED | {TRAINED: on_embeddings}).items():
    score = functools.partial(variants.score, variant, seed, data)
    of_seed.fill(name, score)
  return of_seed.scores


def _folder(out: pathlib.Path, config: pairwise_config.Config) -> pathlib.Path:
  """Where an encoder's file lies."""
  name = f"seed{config.seed}-{config.pairs.statistics}-{config.encoder.last}"
  return out.with_suffix("") / name


def _on_embeddings(
  config: pairwise_config.Config, out: pathlib.Path
) -> Variant:
  """Products of a trained encoder's embeddings, in place of SqueezeNet's."""
  values = {
    "image.backbone": "trained",
    "image.weights": str(_folder(out, config)),
    "model.frozen_width": config.encoder.width,
  }
  return _unified("product", "joint", **values)


def table(of: Table, results: claims.Results) -> list[str]:
  """A table of Markdown; empty where a variant has no such metric."""
  heads = [COLUMNS[c] for c in of.columns]
  lines = [f"\n### {of.title}\n", f"| | {' | '.join(heads)} |"]
  lines.append("|---" * (1 + len(heads)) + "|")
  for variant in of.variants:
    scores = results[variant]
    cells = [claims.cell([s[c] for s in scores if c in s]) for c in of.columns]
    lines.append(f"| {variant} | {' | '.join(cells)} |")
  return lines


if __name__ == "__main__":
  main()
