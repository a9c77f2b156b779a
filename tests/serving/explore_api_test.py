"""The explorer's answers over HTTP, and how it says no."""

import asyncio
import dataclasses
import json

import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.serving import (
  engine,
  explain,
  explore_api,
  explore_folder,
  explorer,
  numpy_scorer,
)
from dicm_jax.serving.limits import Limits
from tests import toy
from tests.serving import explored


@pytest.fixture(scope="module")
def other(made):
  """The same bundle a second time, to compare with."""
  return engine.start(made.bundle.folder, "auto", Limits())


@pytest.fixture(scope="module")
def get(made, shown, other):
  """Asks an explorer that can do everything."""
  one = explorer.Explorer(shown, other, explored.embedder)

  def ask(path, method="GET", **options):
    return explored.with_client(
      made,
      one,
      lambda client: client.request(method, f"/explore{path}", **options),
    )

  return ask


def read_view(made, shown, number):
  """A page view as a log, and its probabilities."""
  reader = engine.request_reader.RequestReader(made.bundle, Limits())
  log = reader.read(json.dumps(shown.views[number].request).encode()).log
  return log, numpy_scorer.NumpyScorer(made.bundle)(log)


def with_history(shown):
  return next(
    number
    for number, view in enumerate(shown.views)
    if len(view.behaviours) > 1
  )


def test_views_are_those_of_the_folder(get, shown):
  found = get("/views").json()
  assert len(found) == len(shown.views) == 8
  assert [view["user"] for view in found] == [v.user for v in shown.views]
  about = get("/about").json()
  assert about["data_notice"] == "toy"
  assert (about["embeds"], about["no_attention"]) == (True, "")
  assert len(about["models"]) == 2
  assert len(about["pictures"]) == len(shown.pictures) == toy.NUM_IMAGES


def test_ads_are_ranked_as_the_scorer_scores_them(get, made, shown):
  number = with_history(shown)
  _, expected = read_view(made, shown, number)
  page = get(f"/views/{number}").json()
  ads = page["ads"]
  assert [ad["rank"][0] for ad in ads] == list(range(1, len(ads) + 1))
  for ad in ads:
    assert ad["predicted"][0] == pytest.approx(expected[ad["ad"]], abs=1e-6)
    assert ad["predicted"][1] == ad["predicted"][0]
    truth = shown.views[number].ads[ad["ad"]]
    assert (ad["label"], ad["true_probability"]) == (
      truth.label,
      truth.true_probability,
    )
  first = [ad["predicted"][0] for ad in ads]
  assert first == sorted(first, reverse=True)


def test_each_behaviour_has_a_weight_of_each_channel(get, shown):
  number = with_history(shown)
  page = get(f"/views/{number}").json()
  assert page["behaviours"] == list(shown.views[number].behaviours)
  assert [one["channel"] for one in page["attention"]] == ["by_image", "by_ids"]
  for one in page["attention"]:
    shape = np.array(one["weights"], float).shape
    assert shape == (len(page["ads"]), len(page["behaviours"]))


def test_behaviours_that_the_model_does_not_know_have_no_weight(
  made, shown, other
):
  number = with_history(shown)
  view = shown.views[number]
  named = view.request["user"]["behaviours"]
  request = json.loads(json.dumps(view.request))
  request["user"]["behaviours"] = ["nobody.png", *named[1:]]
  views = list(shown.views)
  views[number] = dataclasses.replace(view, request=request)
  folder = dataclasses.replace(shown, views=tuple(views))
  one = explorer.Explorer(folder)
  model = one.model(other)
  page = one.page(number, model, [np.zeros(len(view.ads))])
  first, second = page["attention"][0]["weights"][0][:2]
  assert first is None
  assert second is not None
  parts = one.explain(number, 0, model)["parts"]
  places = {part["place"] for part in parts if part["kind"] == "behaviour"}
  assert places == set(range(1, len(named)))


def test_neighbours_have_the_largest_cosine(get, made, shown):
  found = get("/neighbours/3").json()
  vectors = made.bundle.images
  unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  row = made.bundle.image_of[shown.pictures[3].name]
  cosine = unit @ unit[row]
  for one in found:
    other_row = made.bundle.image_of[shown.pictures[one["picture"]].name]
    assert one["similarity"] == pytest.approx(cosine[other_row], abs=1e-6)
  others = np.sort(np.delete(cosine, row))[::-1]
  similarities = [one["similarity"] for one in found]
  np.testing.assert_allclose(similarities, others[: len(found)], atol=1e-6)
  assert 3 not in [one["picture"] for one in found]


def test_pictures_are_small_jpegs(get, shown):
  answer = get("/pictures/0")
  assert answer.headers["content-type"] == "image/jpeg"
  assert answer.content.startswith(b"\xff\xd8")
  assert answer.content == (shown.path / "pictures" / "0.jpg").read_bytes()


def test_explanation_names_pictures(get, made, shown):
  number = with_history(shown)
  found = get(f"/explain/{number}/1").json()
  _, probability = read_view(made, shown, number)
  expected = explain.logits(probability)[1]
  assert found["logit"] == pytest.approx(expected, abs=1e-4)
  total = sum(part["share"] for part in found["parts"])
  total += found["others"]["share"]
  assert total + found["missed"] == pytest.approx(
    found["logit"] - found["baseline"], abs=1e-9
  )
  view = shown.views[number]
  for part in found["parts"]:
    if part["kind"] == "behaviour" or part["field"] == "liked":
      assert part["picture"] == view.behaviours[part["place"]]
    elif part["kind"] == "picture":
      assert part["picture"] == view.ads[1].picture
    else:
      assert part["picture"] is None


def test_known_picture_of_an_unknown_ad_is_ranked(get, made, shown):
  number = with_history(shown)
  picture = toy.dataset().image_bytes[7]
  answer = get(
    f"/rank-picture?view={number}",
    "POST",
    content=picture,
    headers={"content-type": "image/png"},
  )
  found = answer.json()
  _, probability = read_view(made, shown, number)
  reader = engine.request_reader.RequestReader(made.bundle, Limits())
  request = json.loads(json.dumps(shown.views[number].request))
  place = {"position": request["candidates"][0]["ids"]["position"]}
  request["candidates"] = [{"image": "7.png", "ids": place}]
  new = reader.read(json.dumps(request).encode()).log
  (expected,) = numpy_scorer.NumpyScorer(made.bundle)(new)
  assert found["predicted"] == pytest.approx(expected, abs=1e-6)
  assert found["rank"] == 1 + (probability > expected).sum()
  assert found["of"] == len(probability) + 1
  assert found["neighbours"][0]["similarity"] == pytest.approx(1, abs=1e-5)


def test_occlusion_has_a_number_for_each_cell(get, shown):
  found = get(f"/occlusion/{with_history(shown)}/0").json()
  assert np.array(found["fall"]).shape == (8, 8)


@pytest.mark.parametrize(
  ("path", "reason"),
  [
    ("/views/999", "there is no page view 999"),
    ("/views/-1", "there is no page view -1"),
    ("/explain/0/99", "page view 0 has no ad 99"),
    ("/occlusion/0/-1", "page view 0 has no ad -1"),
    ("/neighbours/12345678901234567890", "there is no picture"),
    ("/pictures/40", "no picture 40"),
  ],
)
def test_what_is_not_there_is_told(get, path, reason):
  answer = get(path)
  assert answer.status_code == 404
  assert reason in answer.json()["error"]


@pytest.mark.parametrize(
  "path",
  [
    "/pictures/..%2F..%2Fetc%2Fpasswd",
    "/pictures/0.jpg",
    "/../explore.json",
    "/explore.py",
    "/views/a",
  ],
)
def test_no_path_leads_to_a_file(get, path):
  answer = get(path)
  assert answer.status_code in (404, 422)
  assert b"root:" not in answer.content


def test_page_and_its_files_are_served_and_let_nothing_in(get):
  page = get("")
  assert page.headers["content-type"].startswith("text/html")
  assert "default-src 'none'" in page.headers["content-security-policy"]
  for file in explore_api.PAGE.iterdir():
    if file.name != "index.html":
      answer = get(f"/{file.name}")
      assert answer.content == file.read_bytes()
      assert answer.headers["x-content-type-options"] == "nosniff"
      # All of it is here: no address but our own.
      assert b"//" not in answer.content.replace(b"// ", b"").replace(
        b"http://www.w3.org/2000/svg", b""
      )


def post_picture(made, one, content, kind="image/png", **limits):
  return explored.with_client(
    made,
    one,
    lambda client: client.post(
      "/explore/rank-picture?view=0",
      content=content,
      headers={"content-type": kind},
    ),
    **limits,
  )


def test_bundle_without_encoder_says_so(made, shown):
  one = explorer.Explorer(shown)
  answer = post_picture(made, one, toy.dataset().image_bytes[7])
  assert answer.status_code == 501
  assert "this bundle has no encoder" in answer.json()["error"]


def test_wrong_pictures_are_refused(made, shown):
  one = explorer.Explorer(shown, None, explored.embedder)
  assert post_picture(made, one, b"{}", "text/plain").status_code == 415
  damaged = post_picture(made, one, b"\x89PNG cut")
  assert damaged.status_code == 422
  assert "not a picture in a known format" in damaged.json()["error"]
  large = post_picture(made, one, b"x" * 5001, body_bytes=5000)
  assert large.status_code == 413


def test_folder_of_other_data_is_told(made, shown):
  folder = dataclasses.replace(shown, data_digest="0" * 64)
  answer = explored.with_client(
    made,
    explorer.Explorer(folder),
    lambda client: client.get("/explore/views/0"),
  )
  assert answer.status_code == 501
  assert "make the folder again" in answer.json()["error"]


def test_second_bundle_of_other_data_is_refused(shown, other):
  folder = dataclasses.replace(shown, data_digest="0" * 64)
  with pytest.raises(errors.InputError, match=r"--compare: .* of the data of"):
    explorer.Explorer(folder, other)


def test_questions_are_bounded_and_failures_kept_apart(
  made, shown, monkeypatch
):
  one = explorer.Explorer(shown)
  monkeypatch.setattr(explore_api, "WAITING", 2)

  async def work(client):
    asked = [client.get(f"/explore/explain/{n}/0") for n in range(5)]
    answers = await asyncio.gather(*asked)
    monkeypatch.setattr(explain, "explain", lambda *_: 1 / 0)
    failed = await client.get("/explore/explain/0/0")
    monkeypatch.setattr(explore_api, "TIMEOUT_S", 0.0)
    late = await client.get("/explore/views/0")
    return answers, failed, late

  answers, failed, late = explored.with_client(made, one, work)
  assert sorted(a.status_code for a in answers) == [200, 200, 503, 503, 503]
  assert failed.status_code == 500
  assert "division" not in failed.text
  assert late.status_code == 504


def test_damaged_folder_is_refused(shown, tmp_path):
  with pytest.raises(errors.InputError, match=r"found no explore\.json"):
    explore_folder.read(tmp_path)
  path = tmp_path / "explore.json"
  whole = json.loads((shown.path / "explore.json").read_text())
  for found, reason in (
    ({"format": 7}, "found 7"),
    (whole | {"views": 3}, "damaged"),
    (whole | {"pictures": []}, "names other pictures"),
  ):
    path.write_text(json.dumps(found))
    with pytest.raises(errors.InputError, match=reason):
      explore_folder.read(tmp_path)
