"""Page views and small pictures for the explorer of a served model; a command.

python -m dicm_jax.explore_data --export=bundle --out=explore [--views=200]
  [--max_pictures=2000]

The bundle says which data it was trained on; of their test split some page
views are taken, each of another user, and the pictures that they show. Further
pictures, as many as there is room for, are there to be found as neighbours.
"""

import dataclasses
import logging
import pathlib
from typing import Any, NamedTuple

from absl import app, flags
from jaxtyping import Int
import numpy as np

from dicm_jax import (
  bundle_data,
  command,
  contact_sheet,
  errors,
  out_folder,
)
from dicm_jax.data import click_log, files
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import example, explore_folder

_log = logging.getLogger(__name__)

SIDE = 160
"""Pixels of a picture's longer side."""
MOST_ADS, MOST_VALUES = 40, 100
"""Of a page view that a person still takes in: ads, and values of a list."""
_QUALITY = 85
"""Of JPEG."""


class _Pictures(NamedTuple):
  """What was written, and by which number each image row is known there."""

  shown: list[explore_folder.Picture]
  number: dict[int, int]


def write(
  export: pathlib.Path, out: pathlib.Path, views: int, max_pictures: int
) -> dict[str, Any]:
  """Writes the folder, all of it or nothing.

  Args:
    export: folder of a bundle.
    out: an empty folder, or none yet.
    views: page views to take, as far as there are so many.
    max_pictures: pictures to write; those of the page views come first.

  Returns:
    How many of each were written, and the notice of the data.

  Raises:
    InputError: as `bundle.read`; the data are not those of the bundle, or have
      no page view to show; or the folder cannot be written.
  """
  out_folder.check_free(out)
  bundle = bundle_lib.read(export)
  data = bundle_data.of(bundle)
  groups = chosen(data.test, views)
  if not len(groups):
    raise errors.InputError(
      f"{export}: expected page views of at most {MOST_ADS} ads and lists of "
      f"at most {MOST_VALUES} values in the test split, found none"
    )
  with out_folder.filling(out) as folder:
    rows = _rows(data, groups, max_pictures)
    pictures = _write_pictures(folder, data, rows)
    found = [_view(bundle, data, g, pictures) for g in groups.tolist()]
    index = explore_folder.to_dict(
      data.digest, data.notice, pictures.shown, found
    )
    files.write_json(folder / explore_folder.INDEX, index)
  return {
    "views": len(found),
    "pictures": len(pictures.shown),
    "data_notice": data.notice,
  }


def chosen(log: click_log.ClickLog, count: int) -> Int[np.ndarray, " c"]:
  """Page views to show, ascending: of different users, evenly over the log.

  Args:
    log: to choose of.
    count: as many, or all that can be shown.
  """
  ads = np.bincount(log.group, minlength=log.num_groups)
  lists = [log.behaviour_images, *log.user_ids.values()]
  longest = np.max([one.lengths for one in lists], axis=0)
  small = (ads > 1) & (ads <= MOST_ADS) & (longest <= MOST_VALUES)
  fit = np.flatnonzero(small)
  _, first = np.unique(log.user[fit], return_index=True)
  fit = fit[np.sort(first)]
  count = min(count, len(fit))
  return fit[np.arange(count) * len(fit) // max(count, 1)]


def _rows(
  data: click_log.Dataset, groups: Int[np.ndarray, " c"], most: int
) -> list[int]:
  """Image rows to write: those of the page views, then all others."""
  log = data.test
  shown = log.ad_image[np.isin(log.group, groups)]
  past = log.behaviour_images
  of_past = np.repeat(np.arange(log.num_groups), past.lengths)
  shown = np.unique([*shown, *past.values[np.isin(of_past, groups)]])
  rest = np.setdiff1d(np.arange(len(data.image_names)), shown)
  rows = [int(row) for row in (*shown, *rest) if row != data.no_image]
  return [row for row in rows if data.image_names[row]][:most]


def _write_pictures(
  folder: pathlib.Path, data: click_log.Dataset, rows: list[int]
) -> _Pictures:
  out = _Pictures([], {})
  (folder / "pictures").mkdir()
  damaged = 0
  for row in rows:
    name = data.image_names[row]
    try:
      small = contact_sheet.fitted(data.image_bytes[row], name, SIDE)
    except errors.InputError:
      damaged += 1
      continue
    number = out.number[row] = len(out.shown)
    small.save(folder / explore_folder.picture_file(number), quality=_QUALITY)
    title = data.titles[row] if data.titles is not None else ""
    out.shown.append(explore_folder.Picture(name=name, title=title))
  if damaged:
    _log.warning("%d pictures cannot be decoded and are left out", damaged)
  return out


def _view(
  bundle: bundle_lib.Bundle,
  data: click_log.Dataset,
  group: int,
  pictures: _Pictures,
) -> explore_folder.View:
  log = data.test
  begin, end = np.searchsorted(log.group, (group, group + 1)).tolist()
  past = log.behaviour_images
  behaviours = past.values[past.offsets[group] : past.offsets[group + 1]]
  truth = log.true_probability
  return explore_folder.View(
    user=str(log.user[group]),
    request=example.request_of(_seeing(bundle, data), log, group),
    behaviours=tuple(map(pictures.number.get, behaviours.tolist())),
    ads=tuple(
      explore_folder.Ad(
        picture=pictures.number.get(int(log.ad_image[i])),
        label=int(log.label[i]),
        true_probability=None if truth is None else float(truth[i]),
      )
      for i in range(begin, end)
    ),
  )


def _seeing(
  bundle: bundle_lib.Bundle, data: click_log.Dataset
) -> bundle_lib.Bundle:
  """The bundle as if its network saw all pictures.

  A model that sees them and one that does not can then be asked by the same
  page view; each is asked for what it reads.
  """
  fields = dataclasses.replace(
    bundle.fields,
    ad_images=True,
    behaviour_images=True,
    no_image=data.no_image,
  )
  return dataclasses.replace(bundle, fields=fields, image_keys=data.image_names)


def main(argv: list[str]) -> None:
  del argv
  values = flags.FLAGS
  try:
    command.start_logs()
    about = write(
      pathlib.Path(values.export),
      pathlib.Path(values.out),
      values.views,
      values.max_pictures,
    )
  except errors.InputError as e:
    command.fail(e)
  else:
    command.show(about)


if __name__ == "__main__":
  flags.DEFINE_string("export", None, "Folder of a bundle.", required=True)
  flags.DEFINE_string("out", None, "New folder to write.", required=True)
  flags.DEFINE_integer("views", 200, "Page views to show.", 1)
  flags.DEFINE_integer("max_pictures", 2000, "Pictures to write.", 0)
  app.run(main, flags_parser=command.parse_flags)
