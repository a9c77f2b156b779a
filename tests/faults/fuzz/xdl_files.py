"""The XDL example's text and image records, made wrong."""

import pathlib
import tempfile

from dicm_jax.data import source
from dicm_jax.data.readers import xdl, xdl_example, xdl_infer, xdl_records
from tests.data.readers import xdl_test
from tests.faults.fuzz import judge

_WIDTH = 4


def _made() -> tuple[bytes, dict[str, bytes]]:
  with tempfile.TemporaryDirectory() as place:
    folder = pathlib.Path(place)
    xdl_example.generate(folder, samples=12, images=30, files=2, width=_WIDTH)
    records = {
      f"images/{p.name}": p.read_bytes() for p in (folder / "images").iterdir()
    }
    return (folder / "samples.txt").read_bytes(), records


def text(path: pathlib.Path, policy: str = "stop") -> None:
  inferred = xdl_infer.infer(path)
  for wanted in (xdl_test.SCHEMA, inferred):
    for block in xdl.read(path, wanted, source.Bad(policy)):
      block.validate(full=True)


def events(path: pathlib.Path) -> None:
  for policy in source.BAD_POLICIES:
    for block in xdl.read(path, xdl_test.SCHEMA, source.Bad(policy)):
      block.validate(full=True)


def records(path: pathlib.Path) -> None:
  for width in (0, _WIDTH):
    for policy in source.BAD_POLICIES:
      found = xdl_records.Records(path.parent, width, source.Bad(policy))
      for _ in found.read(set(found.keys())):
        pass


def targets() -> dict[str, judge.Target]:
  samples, images = _made()
  lines = (xdl_test.LINE + "\n").encode()
  return {
    "xdl": judge.Target(
      files={"samples.txt": samples, "line.txt": lines},
      reads=(text, lambda path: text(path, "skip"), events),
    ),
    "xdl records": judge.Target(
      files=images, reads=(records,), place=lambda path: str(path.parent)
    ),
  }
