"""A page about a run, or about several beside each other; a command.

python -m dicm_jax.report --workdir=runs/a [--against=runs/b,runs/c]
  [--out=report.html]

Writes report.html into the first run's folder: figures with intervals, curves
of the training, slices of the test split, where the time of a step goes (of
runs with --profile), and the configuration. One file, which needs nothing else.
It is made of the folders' files alone: a run that still trains has one, too.
"""

from collections.abc import Sequence
import pathlib

from absl import app, flags

from dicm_jax import command, errors, workdir
from dicm_jax.reporting import page, run_files

FILE = "report.html"
MOST = 6
"""Runs of a page."""


def write(folders: Sequence[pathlib.Path], out: pathlib.Path | None) -> str:
  """Writes the page.

  Args:
    folders: of runs, distinct.
    out: the file; None: report.html in the first folder.

  Returns:
    Where it is.

  Raises:
    InputError: one is no run's folder, or a file of it is damaged; or there
      are too many.
    WriteError: the page cannot be written.
  """
  if len(folders) > MOST:
    raise errors.InputError(
      f"--against: expected at most {MOST - 1} runs, found {len(folders) - 1}"
    )
  named = zip(folders, run_files.names(folders), strict=True)
  text = page.page([run_files.read(folder, name) for folder, name in named])
  path = out or folders[0] / FILE
  workdir.write_text(path, text)
  return str(path)


def main(argv: list[str]) -> None:
  del argv
  values = flags.FLAGS
  folders = [values.workdir, *(values.against or ())]
  try:
    out = pathlib.Path(values.out) if values.out else None
    print(write([pathlib.Path(folder) for folder in folders], out))
  except errors.InputError as e:
    command.fail(e)
  except errors.WriteError as e:
    raise SystemExit(f"dicm_jax: {e}") from e


if __name__ == "__main__":
  flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
  flags.DEFINE_list("against", None, "Folders of other runs, by commas.")
  flags.DEFINE_string("out", "", "File; empty: report.html in the folder.")
  app.run(main, flags_parser=command.parse_flags)
