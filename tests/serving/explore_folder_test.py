"""The folder of the toy data, leaf by leaf."""

import dataclasses
import io

from PIL import Image
import pytest

from dicm_jax import errors, experiment, explore_data
from tests import toy
from tests.serving import explored


def test_pictures_and_ads_are_those_of_the_log(shown, made):
  log = toy.dataset().test
  groups = explore_data.chosen(log, 8).tolist()
  for group, view in zip(groups, shown.views, strict=True):
    assert view.user == str(log.user[group])
    (samples,) = (log.group == group).nonzero()
    names = [f"{log.ad_image[i]}.png" for i in samples]
    assert [shown.pictures[ad.picture].name for ad in view.ads] == names
    assert [ad["image"] for ad in view.request["candidates"]] == names
    assert [ad.label for ad in view.ads] == log.label[samples].tolist()
    past = [shown.pictures[n].name for n in view.behaviours]
    assert past == view.request["user"]["behaviours"]


def test_pictures_keep_their_proportions(shown):
  found = Image.open(io.BytesIO(shown.jpeg(5)))
  assert found.format == "JPEG"
  assert max(found.size) == explore_data.SIDE
  assert (
    shown.pictures[5].title
    == toy.dataset().titles[int(shown.pictures[5].name.removesuffix(".png"))]
  )


def test_few_pictures_are_those_of_the_views(made, tmp_path, monkeypatch):
  few = explored.folder(
    made, tmp_path / "few", monkeypatch, views=2, max_pictures=3
  )
  assert len(few.pictures) == 3
  assert len(list((few.path / "pictures").iterdir())) == 3
  shown = {ad.picture for view in few.views for ad in view.ads}
  assert None in shown  # There was no room for all.


def test_other_data_are_refused(made, tmp_path, monkeypatch):
  other = dataclasses.replace(toy.dataset(), digest="f" * 64)
  monkeypatch.setattr(experiment, "load_data", lambda _: other)
  with pytest.raises(errors.InputError, match="found ffffffff in the built-in"):
    explore_data.write(made.bundle.folder, tmp_path / "out", 2, 3)
  assert not (tmp_path / "out").exists()
