"""What no code of ours does: run what a file says, or fetch it from anybody."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted((ROOT / "dicm_jax").rglob("*.py"))

RUNNING = (
  "pickle",
  "_pickle",
  "cPickle",
  "marshal",
  "shelve",
  "dill",
  "cloudpickle",
  "joblib",
)
"""Modules whose files are programs."""
CALLS = ("eval", "exec", "compile", "__import__")
ATTRIBUTES = (
  "torch.load",
  "yaml.load",
  "yaml.unsafe_load",
  "os.system",
  "os.popen",
  "tarfile.open",  # See data/readers/archives.py.
  "urllib.request.urlopen",  # See model/download.py.
)
METHODS = ("extractall", "unpack_archive")


def _name(node: ast.expr) -> str:
  """Dotted name of what is called; "" where it has none."""
  if isinstance(node, ast.Name):
    return node.id
  if isinstance(node, ast.Attribute):
    return f"{_name(node.value)}.{node.attr}"
  return ""


def wrong(text: str) -> list[str]:
  """Lines of a program that run, or may run, what a file says."""
  found = []
  for node in ast.walk(ast.parse(text)):
    names = []
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      names = [node.module or "", *(alias.name for alias in node.names)]
    if any(name.partition(".")[0] in RUNNING for name in names):
      found.append(f"line {node.lineno}: imports {names}")
    if isinstance(node, ast.Call) and _runs(node):
      found.append(f"line {node.lineno}: calls {_name(node.func)}")
  return found


def _runs(call: ast.Call) -> bool:
  name = _name(call.func)
  given = {keyword.arg: keyword.value for keyword in call.keywords}
  if name in CALLS or name in ATTRIBUTES:
    return True
  if name.rpartition(".")[2] in METHODS:
    return True
  if name in ("np.load", "numpy.load"):
    return not _is(given.get("allow_pickle"), False)
  return _is(given.get("shell"), True) or _is(given.get("allow_pickle"), True)


def _is(node: ast.expr | None, value: bool) -> bool:
  return isinstance(node, ast.Constant) and node.value is value


def test_no_file_runs_what_another_says():
  assert len(FILES) > 100
  found = {str(f): lines for f in FILES if (lines := wrong(f.read_text()))}
  assert found == {}


@pytest.mark.parametrize(
  "text",
  [
    "import pickle",
    "from cloudpickle import loads",
    "import torch\ntorch.load('x')",
    "np.load('x')",
    "np.load('x', allow_pickle=True)",
    "eval('1')",
    "subprocess.run('ls', shell=True)",
    "archive.extractall('x')",
  ],
)
def test_the_search_finds_it(text):
  assert wrong(text)


def test_the_search_lets_pass_what_is_safe():
  assert not wrong(
    "np.load('x', allow_pickle=False)\nnet.eval()\nre.compile('')"
  )
