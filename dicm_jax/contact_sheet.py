"""A sheet of pictures in rows, with a line or two under each."""

from collections.abc import Iterator, Sequence
import pathlib
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from dicm_jax import errors
from dicm_jax.data import files, images

SIDE = 200
"""Pixels of a tile, square; a picture keeps its proportions in it."""
COLUMNS = 5
_GAP, _TITLE, _LINE = 16, 40, 20
_HEIGHT = SIDE + 2 * _LINE + _GAP
"""Of a row of tiles, with what stands under them."""
PAPER, TILE, GREY = (255, 255, 255), (243, 243, 243), (208, 208, 208)
_INK, _PALE = (24, 24, 24), (112, 112, 112)


class Tile(NamedTuple):
  """A picture and what stands under it."""

  picture: bytes | None
  """Encoded; None: there is none."""
  key: str
  note: str = ""
  """Above the key, e.g. a score."""


class Section(NamedTuple):
  """A title and its tiles, row by row."""

  title: str
  tiles: Sequence[Tile]


def draw(sections: Sequence[Section]) -> Image.Image:
  """Draws the sections, one below the other.

  A picture that is missing or cannot be decoded is a grey tile that says so.
  """
  sheet = Image.new("RGB", _size(sections), PAPER)
  pen = ImageDraw.Draw(sheet)
  for top, section in _tops(sections):
    pen.text((_GAP, top), section.title, fill=_INK, font=_font(20))
    for tile, corner in zip(section.tiles, _corners(top, section), strict=True):
      sheet.paste(picture(tile), corner)
      _caption(pen, tile, corner)
  return sheet


def save(sheet: Image.Image, path: pathlib.Path) -> None:
  """Writes a sheet as PNG, all of it or nothing.

  Raises:
    InputError: the file cannot be written.
  """
  try:
    with files.whole(path) as part:
      sheet.save(part, format="PNG")
  except OSError as e:
    raise errors.InputError(f"--sheet: {path}: {e.strerror or e}") from e


def picture(tile: Tile) -> Image.Image:
  """The tile's square: the whole picture in its middle, as large as fits."""
  if tile.picture is None:
    return _grey("no picture")
  try:
    found = fitted(tile.picture, tile.key, SIDE)
  except errors.InputError:
    return _grey("damaged picture")
  out = Image.new("RGB", (SIDE, SIDE), TILE)
  out.paste(found, ((SIDE - found.width) // 2, (SIDE - found.height) // 2))
  return out


def fitted(picture: bytes, key: str, side: int) -> Image.Image:
  """A picture in its proportions, its longer side of `side` pixels.

  Raises:
    InputError: it cannot be decoded.
  """
  square = images.decode(picture, name=key, size=2 * side)
  width, height = images.upright_size(picture)
  scale = side / max(width, height)
  # The square is the picture squeezed: this gives it its proportions again.
  size = max(1, round(width * scale)), max(1, round(height * scale))
  return Image.fromarray(square).resize(size, Image.Resampling.LANCZOS)


def corners(sections: Sequence[Section]) -> list[list[tuple[int, int]]]:
  """Left and top of each section's tiles."""
  return [_corners(top, section) for top, section in _tops(sections)]


def _corners(top: int, section: Section) -> list[tuple[int, int]]:
  return [
    (
      _GAP + (SIDE + _GAP) * (i % COLUMNS),
      top + _TITLE + _HEIGHT * (i // COLUMNS),
    )
    for i in range(len(section.tiles))
  ]


def _rows(section: Section) -> int:
  return -(-len(section.tiles) // COLUMNS)


def _tops(sections: Sequence[Section]) -> Iterator[tuple[int, Section]]:
  top = _GAP
  for section in sections:
    yield top, section
    top += _TITLE + _HEIGHT * _rows(section)


def _size(sections: Sequence[Section]) -> tuple[int, int]:
  height = sum(_TITLE + _HEIGHT * _rows(section) for section in sections)
  return _GAP + COLUMNS * (SIDE + _GAP), _GAP + height


def _grey(what: str) -> Image.Image:
  out = Image.new("RGB", (SIDE, SIDE), GREY)
  middle = (SIDE / 2, SIDE / 2)
  pen = ImageDraw.Draw(out)
  pen.text(middle, what, fill=_INK, font=_font(16), anchor="mm")
  return out


def _caption(pen: ImageDraw.ImageDraw, tile: Tile, corner: tuple[int, int]):
  left, top = corner[0] + SIDE / 2, corner[1] + SIDE + _LINE / 2
  lines = [(tile.note, _INK)] if tile.note else []
  for text, ink in [*lines, (tile.key, _PALE)]:
    font = _font(15)
    while pen.textlength(text, font=font) > SIDE:
      text = f"{text.rstrip('…')[:-1]}…"
    pen.text((left, top), text, fill=ink, font=font, anchor="mm")
    top += _LINE


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
  return ImageFont.load_default(size)
