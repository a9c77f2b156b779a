"""An index holds the ads of a data set, or of a file, and what embeds users."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from dicm_jax import ad_index, errors, hnsw
from dicm_jax.data import files
from dicm_jax.serving import example, logs
from dicm_jax.serving.limits import Limits
from tests.serving import bundles

CONTEXT = {"ids": {"position": 2}}


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    return bundles.towers(tmp_path_factory.mktemp("towers"), patch)


@pytest.fixture
def lines(towers, tmp_path):
  """A file with the toy's ads, one a line."""
  path = tmp_path / "ads.jsonl"
  ads = ad_index.of_data(towers.bundle, bundles.placed())
  path.write_text("".join(json.dumps(ad) + "\n" for ad in ads))
  return path


def build(towers, tmp_path, lines, **options):
  out = tmp_path / "index"
  given = {"context": CONTEXT, "ads": lines} | options
  return out, ad_index.build(towers.bundle.folder, out, **given)


def test_ads_of_a_data_set_are_distinct_and_know_no_place(towers):
  data = bundles.placed()
  once = ad_index.of_data(towers.bundle, data)
  log = data.test
  moved = log.ad_ids | {"position": 0 * log.ad_ids["position"]}
  elsewhere = dataclasses.replace(log, ad_ids=moved)
  twice = dataclasses.replace(data, test=logs.joined([log, elsewhere]))
  assert ad_index.of_data(towers.bundle, twice) == once
  assert all("position" not in ad["ids"] for ad in once)
  keys = [ad_index.key_of(ad) for ad in once]
  assert len(set(keys)) == len(keys)
  assert {ad["image"] for ad in once} == {
    data.image_names[row] for row in log.ad_image
  }


def test_hashed_ads_cannot_be_named(towers):
  ids = tuple(
    dataclasses.replace(field, values="hash")
    if field.name == "ad_id"
    else field
    for field in towers.bundle.fields.ids
  )
  fields = dataclasses.replace(towers.bundle.fields, ids=ids)
  bundle = dataclasses.replace(towers.bundle, fields=fields)
  with pytest.raises(errors.InputError, match=r"'ad_id' is hashed.*--ads"):
    ad_index.of_data(bundle, bundles.placed())


def test_index_read_again_matches_as_it_was_built(towers, tmp_path, lines):
  out, about = build(towers, tmp_path, lines)
  assert about["context"] == CONTEXT
  assert about["encoder_digest"] == towers.bundle.digest
  index = ad_index.read(out)
  assert index.digest == files.digest(out / hnsw.ABOUT)
  assert [json.dumps(ad) for ad in index.ads] == [
    json.dumps(json.loads(line), sort_keys=True)
    for line in lines.read_text().splitlines()
  ]
  user = example.request_of(towers.bundle, towers.log, 3)["user"]
  found = index.match(user, 5)
  query, _ = index.towers.user(user)
  wanted = np.sort(index.towers.ads(index.ads, CONTEXT) @ query)[::-1][:5]
  np.testing.assert_allclose(found.scores, wanted, rtol=0, atol=1e-5)


def test_bundle_of_another_run_is_refused(towers, tmp_path, lines):
  out, _ = build(towers, tmp_path, lines)
  manifest = out / ad_index.TOWERS / "manifest.json"
  manifest.write_text(manifest.read_text() + "\n")
  with pytest.raises(errors.InputError, match="which embedded the ads"):
    ad_index.read(out)
  shutil.rmtree(out / ad_index.TOWERS)
  with pytest.raises(errors.InputError, match=r"dicm_jax\.export"):
    ad_index.read(out)


def test_index_of_other_vectors_is_refused(tmp_path):
  items = hnsw.vectors_lib.Vectors(
    keys=("a", "b"), values=np.eye(2, dtype=np.float32), encoder="net"
  )
  built = hnsw.build("usearch", items.values)
  hnsw.write(tmp_path / "index", built, items)
  with pytest.raises(errors.InputError, match=r"ad_index, found one of net"):
    ad_index.read(tmp_path / "index")


WRONG = {
  "no JSON": ("{", "line 1: expected JSON"),
  "no object": ("[]", "line 1: expected an object"),
  "twice": ('{"image": "1.png"}\n{"image": "1.png"}', "line 2: expected dist"),
  "none": ("", "expected an ad a line"),
  "unknown key": ('{"colour": 1}', "candidates.0: expected keys among"),
  "unknown name": ('{"ids": {"colour": 1}}', "candidates.0.ids: expected keys"),
  "no ids": ('{"ids": 3}', "candidates.0.ids: expected an object"),
  "text": ('{"ids": {"ad_id": "7"}, "image": "1.png"}', "candidates.0.ids.ad"),
  "place": ('{"ids": {"position": 1}}', "candidates.0.ids: expected keys"),
  "picture": ('{"image": "none.png"}', "candidates.0.image: expected the name"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_ad_is_named(towers, tmp_path, name):
  text, reason = WRONG[name]
  path = tmp_path / "ads.jsonl"
  path.write_text(text)
  with pytest.raises(errors.InputError) as caught:
    build(towers, tmp_path, path)
  assert reason in str(caught.value)
  assert not (tmp_path / "index").exists()


def test_wrong_context_is_named(towers, tmp_path, lines):
  with pytest.raises(errors.InputError, match=r"context\.ids: expected keys"):
    build(towers, tmp_path, lines, context={"ids": {"ad_id": 1}})


def test_more_ads_than_a_request_may_have_are_refused(towers, tmp_path):
  with pytest.raises(errors.InputError, match=r"--match_k: .* found 500"):
    ad_index.read_funnel(
      tmp_path, None, towers.bundle, Limits(), match_k=500, prerank_k=50
    )


def test_index_for_other_pictures_is_refused(towers, tmp_path, lines):
  out, _ = build(towers, tmp_path, lines)
  blind = dataclasses.replace(towers.bundle, image_of={})
  with pytest.raises(errors.InputError, match=r"an ad is refused.*\.image"):
    ad_index.read_funnel(out, None, blind, Limits(), match_k=400, prerank_k=50)
  whole = ad_index.read_funnel(
    out, towers.bundle.folder, towers.bundle, Limits(), match_k=9, prerank_k=4
  )
  user = example.request_of(towers.bundle, towers.log, 3)["user"]
  found = whole.shortlist(user).rows.tolist()
  assert found == whole.index.match(user, 4).rows.tolist()
