"""Each tile shows its own picture, whole, upright and in proportion."""

import io

import numpy as np
from PIL import Image
import pytest

from dicm_jax import contact_sheet, errors
from dicm_jax.data import sample

SIDE = contact_sheet.SIDE


def encoded(pixels, orientation=None) -> bytes:
  out, exif = io.BytesIO(), Image.Exif()
  if orientation:
    exif[0x0112] = orientation
  Image.fromarray(pixels).save(out, "PNG", exif=exif)
  return out.getvalue()


def photographs():
  """The first of the sample's, with different proportions."""
  names = ("0001.jpg", "0003.jpg", "0548.jpg", "0781.jpg", "0700.jpg")
  return [(name, (sample.FOLDER / name).read_bytes()) for name in names] * 2


def crop(sheet, corner):
  return sheet.crop((*corner, corner[0] + SIDE, corner[1] + SIDE))


def test_tiles_are_the_pictures_in_their_order():
  tiles = [
    contact_sheet.Tile(data, key, f"{i}")
    for i, (key, data) in enumerate(photographs())
  ]
  sections = [
    contact_sheet.Section("query", tiles[3:4]),
    contact_sheet.Section("most alike", tiles),
  ]
  sheet = contact_sheet.draw(sections)
  shown = contact_sheet.corners(sections)
  assert [len(corners) for corners in shown] == [1, 10]
  for section, corners in zip(sections, shown, strict=True):
    for tile, corner in zip(section.tiles, corners, strict=True):
      assert tile.picture is not None
      with Image.open(io.BytesIO(tile.picture)) as photograph:
        scale = SIDE / max(photograph.size)
        size = [round(side * scale) for side in photograph.size]
        expected = np.asarray(photograph.convert("RGB").resize(size), float)
      left, top = ((SIDE - side) // 2 for side in size)
      box = (left, top, left + size[0], top + size[1])
      found = np.asarray(crop(sheet, corner).crop(box), float)
      # Resampled once here, twice there; other photographs differ by 40.
      assert np.abs(found - expected).mean() < 6, tile.key
  flat = [corner for corners in shown for corner in corners]
  for i, one in enumerate(flat):  # No tile lies on another or off the sheet.
    assert max(one[0] + SIDE - sheet.width, one[1] + SIDE - sheet.height) <= 0
    for other in flat[:i]:
      apart = np.abs(np.subtract(one, other)).max()
      assert apart > SIDE


def test_camera_rotation_is_applied():
  pixels = np.zeros((20, 40, 3), np.uint8)
  pixels[:, :20] = (255, 0, 0)  # Red to the left, black to the right.
  turned = encoded(pixels, orientation=6)  # To be turned clockwise.
  tile = np.asarray(contact_sheet.picture(contact_sheet.Tile(turned, "a")))
  quarter = SIDE // 4
  assert tile[quarter, SIDE // 2].tolist() == [255, 0, 0]  # Red on top now.
  assert tile[-quarter, SIDE // 2].tolist() == [0, 0, 0]
  assert tuple(tile[SIDE // 2, 5].tolist()) == contact_sheet.TILE
  upright = encoded(pixels)
  tile = np.asarray(contact_sheet.picture(contact_sheet.Tile(upright, "a")))
  assert tile[SIDE // 2, quarter].tolist() == [255, 0, 0]
  assert tuple(tile[5, SIDE // 2].tolist()) == contact_sheet.TILE


@pytest.mark.parametrize("picture", [None, b"", b"GIF89a", b"\xff\xd8\xff"])
def test_damaged_pictures_are_grey_and_say_so(picture):
  tile = np.asarray(contact_sheet.picture(contact_sheet.Tile(picture, "a")))
  grey = (tile == contact_sheet.GREY).all(axis=2)
  assert grey.mean() > 0.9
  assert not grey[SIDE // 2 - 20 : SIDE // 2 + 20].all()  # The note.


def test_long_keys_stay_within_their_tiles():
  data = encoded(np.zeros((4, 4, 3), np.uint8))
  tiles = [
    contact_sheet.Tile(data, "x" * 300),
    contact_sheet.Tile(data, ""),
  ]
  sheet = contact_sheet.draw([contact_sheet.Section("", tiles)])
  ((_, (left, top)),) = contact_sheet.corners(
    [contact_sheet.Section("", tiles)]
  )
  below = np.asarray(sheet)[top + SIDE + 2 :, left : left + SIDE]
  assert (below == 255).all()


def test_sheet_is_written_whole_or_not_at_all(tmp_path):
  sheet = contact_sheet.draw([contact_sheet.Section("none", [])])
  contact_sheet.save(sheet, tmp_path / "new" / "sheet")
  with Image.open(tmp_path / "new" / "sheet") as found:
    assert found.format == "PNG"
  (tmp_path / "file").write_text("")
  with pytest.raises(errors.InputError, match=r"--sheet: .*sheet\.png: "):
    contact_sheet.save(sheet, tmp_path / "file" / "sheet.png")
