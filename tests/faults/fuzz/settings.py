"""Schemas as TOML and the configs of runs as JSON, made wrong."""

import pathlib
import runpy

from dicm_jax import any_config, config_tree, workdir
from dicm_jax.data import schema_file
from tests import prepare_test
from tests.data import logs
from tests.faults.fuzz import judge

_CONFIGS = pathlib.Path(__file__).parents[3] / "configs"
_MORE = """
[log]
label = "clicked"
user = "uid"
time = "at"
time_unit = "iso"
positive_from = 4.0
[split]
rule = "time"
test_from = 2026-01-31T12:00:00Z
[history]
max_length = 50
window_days = 14
[negatives]
per_positive = 4
sampling = "popularity"
[items]
key = "item"
fields = ["tags"]
[[feature]]
name = "tags"
side = "ad"
kind = "ids"
separator = "|"
max_length = 20
[[feature]]
name = "words"
side = "ad"
kind = "text"
vocabulary = "hash"
buckets = 1000
"""


def schema(path: pathlib.Path) -> None:
  """A schema that is accepted can be written and read again."""
  found = schema_file.load(path)
  text = schema_file.to_toml(found)
  path.write_text(text, encoding="utf-8")
  assert schema_file.to_toml(schema_file.load(path)) == text


def config(path: pathlib.Path) -> None:
  """A config that is accepted can be compared and hashed."""
  found = workdir.read_config(path.parent)
  workdir.check(path.parent, found)


def _configs() -> dict[str, bytes]:
  found = {}
  for name in ("quickstart", "pairwise"):
    made = runpy.run_path(str(_CONFIGS / f"{name}.py"))["get_config"]()
    text = config_tree.to_json(any_config.from_dict(made.to_dict()))
    found[f"{name}/{workdir.CONFIG}"] = text.encode()
  return found


def targets() -> dict[str, judge.Target]:
  many = b"[log]\n" + b"".join(b"k%d = 1\n" % i for i in range(20_000))
  return {
    "schema": judge.Target(
      files={
        "schema.toml": prepare_test.TOML.encode(),
        "more.toml": _MORE.encode(),
        "logs.toml": schema_file.to_toml(logs.SCHEMA).encode(),
      },
      reads=(schema,),
      wrong={"many.toml": many},
    ),
    "config": judge.Target(files=_configs(), reads=(config,)),
  }
