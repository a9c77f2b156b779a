"""How many of the true nearest ten HNSW finds, and how fast, beside exact.

python -m benchmarks.hnsw [--rows=20000]

Of clustered synthetic vectors and of the sample's SqueezeNet features: recall
@10 of each library's answers against exact search by cosine, and queries a
second, all given at once. Exact search runs on JAX's devices, the libraries on
the processor, USearch one query at a time.
"""

import argparse
import time

from jaxtyping import Float
import numpy as np

from benchmarks import report
from dicm_jax import hnsw, shop
from dicm_jax.data import sample
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import top_k

K = 10
_WIDTH, _CLUSTERS, _SPREAD = 64, 200, 0.5
"""Numbers of a vector, clusters, and deviation about centres of variance 1."""


def clustered(
  rows: int, queries: int, seed: int = 0
) -> tuple[Float[np.ndarray, "R D"], Float[np.ndarray, "Q D"]]:
  """Items and queries from one mixture of normal clusters."""
  rng = np.random.default_rng(seed)
  centres = rng.normal(size=(_CLUSTERS, _WIDTH))
  of = rng.integers(_CLUSTERS, size=rows + queries)
  noise = _SPREAD * rng.normal(size=(rows + queries, _WIDTH))
  points = (centres[of] + noise).astype(np.float32)
  return points[:rows], points[rows:]


def recall(found: top_k.Found, exact: top_k.Found) -> float:
  """Share of the exact rows that were found."""
  hit = (found.rows[:, :, None] == exact.rows[:, None, :]).any(axis=1)
  return float(hit.mean())


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--rows", type=int, default=20_000)
  args = parser.parse_args()
  features = shop.sample_vectors(sample.load_catalogue()).values
  cases = {
    f"{args.rows} clustered": clustered(args.rows, 1000),
    f"{len(features)} SqueezeNet": (features, features),
  }
  print(f"{'':24}{'recall@10':>12}{'queries/s':>12}{'build s':>12}")
  details = {name: _measure(name, *case) for name, case in cases.items()}
  report.emit(
    value=min(of["recall"] for d in details.values() for of in d.values()),
    unit="lowest recall@10 of the libraries",
    goal=">= 0.95",
    details={"settings": vars(hnsw.Settings()), "cases": details},
  )


def _measure(name: str, items, queries) -> dict[str, dict[str, float]]:
  print(name)
  placed = top_k.place(mesh_lib.make_mesh(1, -1), items)
  exact = top_k.search(placed, queries, K)  # Compiles, too.
  out: dict[str, dict[str, float]] = {}

  def note(label: str, search, build_s: float) -> None:
    start = time.perf_counter()
    found = search()
    rate = len(queries) / (time.perf_counter() - start)
    share = recall(found, exact)
    print(f"  {label:22}{share:12.4f}{rate:12.0f}{build_s:12.2f}")
    out[label] = {"recall": share, "queries_per_s": rate, "build_s": build_s}

  note("exact", lambda: top_k.search(placed, queries, K), 0.0)
  for library in hnsw.LIBRARIES:
    start = time.perf_counter()
    built = hnsw.build(library, items)
    seconds = time.perf_counter() - start
    note(library, lambda built=built: hnsw.search(built, queries, K), seconds)
  return out


if __name__ == "__main__":
  main()
