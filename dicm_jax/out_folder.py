"""The folder that a command writes: new, and all of it or nothing."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import tempfile

from dicm_jax import errors


def check_free(out: pathlib.Path) -> None:
  """Refuses a folder with files in it, or what is no folder.

  Raises:
    InputError: so it is, or it cannot be looked at.
  """
  try:
    taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
  except OSError as e:
    raise errors.InputError(f"--out: {out}: {e.strerror}") from e
  if taken:
    raise errors.InputError(
      f"--out: expected an empty folder or a new one, found {out}"
    )


@contextlib.contextmanager
def filling(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a folder beside `out` to fill; then it gets that name.

  Raises:
    InputError: it cannot be written.
  """
  out = out.absolute()
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
      prefix=f".{out.name}.", dir=out.parent
    ) as beside:
      folder = pathlib.Path(beside) / out.name
      folder.mkdir()
      yield folder
      os.replace(folder, out)
  except OSError as e:
    raise errors.InputError(f"--out: {out}: {e.strerror}") from e
