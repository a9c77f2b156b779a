"""Scores in a file of JSON, so that a benchmark that was stopped goes on."""

from collections.abc import Callable, Mapping
import json
import os
import pathlib
import time

Scores = dict[str, float]


class OfSeed:
  """Scores of one seed by variant; each is on disk as soon as it is there.

  Args:
    path: of the file, which holds all seeds; made if missing.
    seed: whose scores these are.
  """

  def __init__(self, path: pathlib.Path, seed: int):
    self._path = path
    self._seed = seed
    self._all = json.loads(path.read_text()) if path.exists() else {}
    self.scores: dict[str, Scores] = self._all.setdefault(str(seed), {})

  def fill(self, name: str, measure: Callable[[], Scores]) -> None:
    """Measures a variant that is not there, and how many seconds that takes."""
    if name not in self.scores:
      start = time.perf_counter()
      found = measure()
      seconds = round(time.perf_counter() - start, 1)
      self.add({name: found | {"seconds": seconds}})

  def add(self, scores: Mapping[str, Scores]) -> None:
    """Keeps scores by variant; a kill leaves the file as it was before."""
    self.scores.update(scores)
    self._path.parent.mkdir(parents=True, exist_ok=True)
    part = self._path.with_name(self._path.name + ".part")
    part.write_text(json.dumps(self._all))
    os.replace(part, self._path)
    print(f"seed {self._seed}: {', '.join(scores)}", flush=True)
