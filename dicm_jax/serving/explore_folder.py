"""What the explorer shows: page views of a log and small pictures, in a folder.

`dicm_jax.explore_data` makes it. Pictures have numbers, by which alone they are
asked for: no name that a client sends becomes a path.
"""

from collections.abc import Sequence
import dataclasses
import json
import pathlib
from typing import Any

from dicm_jax import errors

FORMAT = 1
"""Version of the layout."""
INDEX = "explore.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
  """A picture of the data set."""

  name: str
  """As requests call it."""
  title: str
  """What it shows; "": nobody knows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ad:
  """An ad of a page view, and what became of it."""

  picture: int | None
  """Number of its picture; None: it has none, or it is not here."""
  label: int
  """1 clicked, 0 not clicked."""
  true_probability: float | None
  """Where a simulator knows it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
  """A page view of the test split."""

  user: str
  request: dict[str, Any]
  """As the server would be asked for it, by a model that sees everything."""
  behaviours: tuple[int | None, ...]
  """Number of the picture of each of the request's behaviours."""
  ads: tuple[Ad, ...]
  """One for each of the request's candidates."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Folder:
  """All that is shown."""

  path: pathlib.Path
  data_digest: str
  data_notice: str
  pictures: tuple[Picture, ...]
  views: tuple[View, ...]

  def jpeg(self, picture: int) -> bytes:
    """A picture, small.

    Raises:
      InputError: its file cannot be read.
    """
    path = self.path / picture_file(picture)
    try:
      return path.read_bytes()
    except OSError as e:
      raise errors.InputError(f"{path}: {e.strerror}") from e


def picture_file(picture: int) -> str:
  return f"pictures/{picture}.jpg"


def to_dict(
  data_digest: str,
  data_notice: str,
  pictures: Sequence[Picture],
  views: Sequence[View],
) -> dict[str, Any]:
  """What INDEX holds."""
  return {
    "format": FORMAT,
    "data_digest": data_digest,
    "data_notice": data_notice,
    "pictures": [dataclasses.asdict(picture) for picture in pictures],
    "views": [dataclasses.asdict(view) for view in views],
  }


def read(path: pathlib.Path) -> Folder:
  """Reads a folder.

  Raises:
    InputError: it is none of this version, or damaged.
  """
  index = path / INDEX
  try:
    found = json.loads(index.read_text())
  except FileNotFoundError as e:
    raise errors.InputError(
      f"{path}: expected a folder made by dicm_jax.explore_data, found no "
      f"{INDEX} in it"
    ) from e
  except (OSError, ValueError) as e:
    raise errors.InputError(f"{index}: cannot be read: {e}") from e
  version = found.get("format") if isinstance(found, dict) else None
  if version != FORMAT:
    raise errors.InputError(
      f"{index}: expected format {FORMAT}, found {version!r}; make it again"
    )
  try:
    return _of_dict(path, found)
  except (KeyError, TypeError) as e:
    raise errors.InputError(f"{index}: damaged: {e!r}") from e


def _of_dict(path: pathlib.Path, found: dict[str, Any]) -> Folder:
  folder = Folder(
    path=path,
    data_digest=found["data_digest"],
    data_notice=found["data_notice"],
    pictures=tuple(Picture(**one) for one in found["pictures"]),
    views=tuple(_view(one) for one in found["views"]),
  )
  known = range(len(folder.pictures))
  for number, view in enumerate(folder.views):
    named = {*view.behaviours, *(ad.picture for ad in view.ads)} - {None}
    wrong = [picture for picture in named if picture not in known]
    lists = len(view.request["candidates"]), len(view.ads)
    if wrong or lists[0] != lists[1]:
      raise errors.InputError(
        f"{path / INDEX}: damaged: views.{number} names other pictures or ads "
        "than there are"
      )
  return folder


def _view(found: dict[str, Any]) -> View:
  return View(
    user=found["user"],
    request=found["request"],
    behaviours=tuple(found["behaviours"]),
    ads=tuple(Ad(**ad) for ad in found["ads"]),
  )
