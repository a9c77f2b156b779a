"""The notebook runs as it lies there, and stays thin."""

import ast
import pathlib

from jupyter_client import kernelspec, manager
import nbclient
import nbformat
import pytest

NOTEBOOK = pathlib.Path(__file__).parents[1] / "colab" / "quickstart.ipynb"


def _is_install(cell):
  return "install" in cell.metadata.get("tags", ())


def _code_cells():
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _functions(cell):
  """The cell's functions; magics, as in the install cell, are no Python."""
  tree = ast.parse("" if _is_install(cell) else cell.source)
  kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
  return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def test_notebook_is_committed_without_outputs():
  for cell in _code_cells():
    assert cell.outputs == []
    assert cell.execution_count is None


def test_only_the_first_code_cell_installs():
  first, *others = _code_cells()
  assert _is_install(first)
  assert "pip install" in first.source
  for cell in others:
    assert not _is_install(cell)
    assert "pip install" not in cell.source


def test_notebook_defines_nothing_long():
  for cell in _code_cells():
    for node in _functions(cell):
      length = node.end_lineno - node.lineno + 1
      assert length <= 5, f"{node.name} has {length} lines: into the package"


@pytest.mark.slow
def test_notebook_runs_and_shows_figures(monkeypatch):
  monkeypatch.setenv("DICM_NOTEBOOK_STEPS", "16")
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  monkeypatch.delenv("MPLBACKEND", raising=False)  # Else nothing is inline.
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  notebook.cells = [c for c in notebook.cells if not _is_install(c)]
  _execute(notebook)  # Raises on a cell's error.
  outputs = [
    output
    for cell in notebook.cells
    if cell.cell_type == "code"
    for output in cell.outputs
  ]
  pictures = [o for o in outputs if "image/png" in o.get("data", {})]
  assert len(pictures) == 4
  table = _table(outputs[-1].text)
  assert 0.5 < table["auc"] < table["bayes_auc"] < 1
  assert 0 < table["auc_cold"] < table["bayes_auc_cold"] < 1


def _execute(notebook):
  """Runs all cells by this interpreter, whatever kernels are installed."""
  specs = kernelspec.KernelSpecManager(kernel_dirs=[])
  client = nbclient.NotebookClient(
    notebook,
    km=manager.AsyncKernelManager(
      kernel_name="python3", kernel_spec_manager=specs
    ),
    resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    timeout=300,
  )
  client.execute(cleanup_kc=True)  # Ends the kernel.


def _table(text):
  """The closing cell's names and numbers, which alternate."""
  words = text.split()
  return {
    name: float(number)
    for name, number in zip(words[::2], words[1::2], strict=True)
  }
