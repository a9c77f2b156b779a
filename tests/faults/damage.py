"""Damages each file of a checkpoint in turn and reads the run; a command.

python -m tests.faults.damage [--flips=20]

Prints one line of JSON: how many files and damages there were; how many damages
were `detected`, so that the older checkpoint was read and a warning named the
damaged one; how many of these only the fingerprints told; how many were
`harmless`, so that what was read is bit for bit what was saved; and the longest
time of a reading in seconds. Anything else, such as other numbers, is an error.
"""

import collections
from collections.abc import Callable, Iterator
import json
import logging
import pathlib
import tempfile
import time

from absl import app, flags
import jax
import jax.numpy as jnp
from jaxtyping import PyTree
import numpy as np

from dicm_jax import checkpoint, command
from tests import toy

OLDER, NEWEST = 2, 4
Damage = Callable[[bytes], bytes | None]
"""A file's bytes -> what becomes of them; None: the file is gone."""


def some_state() -> PyTree:
  """Arrays of several kinds, small ones and one of several chunks."""
  rng = np.random.default_rng(0)
  return {
    "step": np.zeros((), np.int32),
    "ids": rng.standard_normal((256, 3, 4), np.float32),
    "dense": [rng.standard_normal((9, 7), np.float32) for _ in range(4)],
    "flags": rng.integers(0, 2, 50).astype(bool),
    "bytes": rng.integers(0, 256, 1000).astype(np.uint8),
    "zeros": np.zeros((40, 40), np.float32),
  }


def at(state: PyTree, step: int) -> PyTree:
  """The state of a step: no number is that of another step."""

  def moved(leaf):
    if leaf.dtype == bool:
      return leaf ^ (step == NEWEST)
    return leaf + np.asarray(step, leaf.dtype)

  # Of a NumPy array without axes a sum is no array.
  return jax.tree.map(
    lambda leaf: (
      jnp.asarray(moved(leaf))
      if isinstance(leaf, jax.Array)
      else np.asarray(moved(leaf))
    ),
    state,
  )


def write(workdir: pathlib.Path, state: PyTree) -> None:
  """Saves checkpoints of two steps."""
  with checkpoint.manager(workdir, keep=2) as opened:
    for step in (OLDER, NEWEST):
      checkpoint.save(opened, step, at(state, step), {"samples": 10 * step})


def files_of(workdir: pathlib.Path) -> list[pathlib.Path]:
  """Every file of the newest checkpoint."""
  folder = workdir / checkpoint.FOLDER / str(NEWEST)
  return sorted(path for path in folder.rglob("*") if path.is_file())


def damages(size: int, flips: int, seed: int) -> Iterator[tuple[str, Damage]]:
  """Names of damages and what they do to a file of so many bytes."""
  yield "deleted", lambda old: None
  yield "emptied", lambda old: b""
  yield "cut in half", lambda old: old[: len(old) // 2]
  yield "zeroed", lambda old: bytes(len(old))
  rng = np.random.default_rng(seed)
  bits = rng.choice(8 * size, min(flips, 8 * size), replace=False)
  for bit in map(int, bits):
    yield f"bit {bit} flipped", lambda old, bit=bit: flipped(old, bit)


def flipped(old: bytes, bit: int) -> bytes:
  new = bytearray(old)
  new[bit // 8] ^= 1 << bit % 8
  return bytes(new)


def what_is_read(workdir: pathlib.Path, state: PyTree) -> str:
  """Reads a run whose newest checkpoint is damaged.

  Returns:
    "by_fingerprint", of what orbax reads as if it were sound, "otherwise" or
    "harmless".
  """
  with _Warnings() as said:
    restored = checkpoint.restore(workdir, state, {})
  assert restored is not None
  found, position = restored
  step = position["step"]
  assert position == {"step": step, "samples": 10 * step}
  expected = at(state, step)
  for left, right in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
    assert left.dtype == right.dtype
    np.testing.assert_array_equal(left, right)
  named = [f"checkpoint {NEWEST} of {workdir}" in line for line in said.lines]
  assert any(named) == (step == OLDER), said.lines
  if step == NEWEST:
    return "harmless"
  told = any("not as they were saved: " in line for line in said.lines)
  return "by_fingerprint" if told else "otherwise"


def run(
  workdir: pathlib.Path, state: PyTree, flips: int
) -> dict[str, float | int]:
  """Damages every file of the newest checkpoint in every way, one at a time."""
  write(workdir, state)
  assert what_is_read(workdir, state) == "harmless"
  files = files_of(workdir)
  counts: collections.Counter[str] = collections.Counter()
  slowest = 0.0
  for number, file in enumerate(files):
    whole = file.read_bytes()
    for name, damage in damages(len(whole), flips, seed=number):
      _put(file, damage(whole))
      start = time.monotonic()
      try:
        found = what_is_read(workdir, state)
      except Exception as e:
        e.add_note(f"{file} {name}")
        raise
      slowest = max(slowest, time.monotonic() - start)
      counts[found] += 1
      _put(file, whole)
  return {
    "files": len(files),
    "damages": counts.total(),
    "detected": counts["by_fingerprint"] + counts["otherwise"],
    "by_fingerprint": counts["by_fingerprint"],
    "harmless": counts["harmless"],
    "slowest_s": round(slowest, 2),
  }


def _put(file: pathlib.Path, contents: bytes | None) -> None:
  if contents is None:
    file.unlink()
  else:
    file.write_bytes(contents)


class _Warnings(logging.Handler):
  """Keeps what the program's log says."""

  def __init__(self):
    super().__init__(logging.WARNING)
    self.lines: list[str] = []

  def emit(self, record: logging.LogRecord) -> None:
    self.lines.append(record.getMessage())

  def __enter__(self) -> "_Warnings":
    logging.getLogger("dicm_jax").addHandler(self)
    return self

  def __exit__(self, *_) -> None:
    logging.getLogger("dicm_jax").removeHandler(self)


def main(argv: list[str]) -> None:
  del argv
  jax.config.update("jax_platforms", "cpu")
  command.start_logs()
  logging.getLogger("dicm_jax").handlers = []  # They are counted.
  with tempfile.TemporaryDirectory() as folder:
    found = run(pathlib.Path(folder), toy.build().state, flags.FLAGS.flips)
  print(json.dumps(found))


if __name__ == "__main__":
  flags.DEFINE_integer("flips", 20, "Bits to flip in each file, one at a time.")
  app.run(main)
