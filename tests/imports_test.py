"""Dependencies flow one way: train -> {model, sharding, data} -> nothing."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "dicm_jax"
# A leaf that everything may use.
LEAVES = {"dicm_jax.errors"}


def imported_modules(file: pathlib.Path) -> set[str]:
  """Full names a file imports, those of its `__main__` block left out.

  An entry point starts what lies above it; that is no dependency.
  """
  tree = ast.parse(file.read_text())
  tree.body = [
    node
    for node in tree.body
    if not (isinstance(node, ast.If) and "__main__" in ast.dump(node.test))
  ]
  names = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module:
      names |= {f"{node.module}.{alias.name}" for alias in node.names}
  return names


@pytest.mark.parametrize("part", ["data", "model", "sharding"])
def test_part_imports_nothing_of_ours_but_itself(part):
  files = sorted((PACKAGE / part).rglob("*.py"))
  assert files
  for file in files:
    ours = {n for n in imported_modules(file) if n.startswith("dicm_jax")}
    foreign = {n for n in ours if not n.startswith(f"dicm_jax.{part}")}
    assert foreign <= LEAVES, f"{file.name} imports {foreign - LEAVES}"


def test_data_knows_no_jax():
  for file in sorted((PACKAGE / "data").rglob("*.py")):
    roots = {name.split(".")[0] for name in imported_modules(file)}
    assert not roots & {"jax", "flax", "optax"}, file.name


def test_serving_reads_data_alone_and_jax_in_one_file():
  for file in sorted((PACKAGE / "serving").rglob("*.py")):
    names = imported_modules(file)
    ours = {n for n in names if n.startswith("dicm_jax")}
    inner = ("dicm_jax.serving", "dicm_jax.data")
    assert {n for n in ours if not n.startswith(inner)} <= LEAVES, file.name
    roots = {name.split(".")[0] for name in names}
    knows = bool(roots & {"jax", "flax"})
    assert knows == (file.name == "artifact.py"), file.name


def test_model_knows_no_mesh():
  for file in sorted((PACKAGE / "model").rglob("*.py")):
    names = imported_modules(file)
    assert not any(n.startswith("jax.sharding") for n in names), file.name
    text = file.read_text()
    for word in ("shard_map", "PartitionSpec", "psum", "all_to_all"):
      assert word not in text.replace("inside jit and shard_map", ""), (
        f"{file.name} speaks of {word}"
      )


def test_sharding_knows_no_ctr():
  for file in sorted((PACKAGE / "sharding").rglob("*.py")):
    text = file.read_text().lower()
    for word in ("click", "impression", "ctr", "behaviour", "label"):
      assert word not in text, f"{file.name} speaks of {word}"
