"""/match and /rank answer as their parts do, and refuse as /score does."""

import json

import numpy as np
import pytest

from dicm_jax.serving import example, matching, request_reader
from dicm_jax.serving.limits import Limits
from tests.serving import bundles, http, matching_test


def serve(made, towers, *, prerank=True, match_k=20, prerank_k=8, **limits):
  """A server whose rank model is `made`'s, and towers both match and order."""
  server = http.serve(made.bundle.folder, **limits)
  index = matching_test.index_of(towers)
  of = matching.Towers(towers.bundle, Limits())
  server.funnel = matching.Funnel(
    index=index,
    prerank=matching.PreRank(index, of) if prerank else None,
    match_k=match_k,
    prerank_k=prerank_k,
  )
  return server


@pytest.fixture(scope="module")
def server(made, towers):
  return serve(made, towers)


def post(server, path, body, **options):
  plain = body if isinstance(body, bytes) else json.dumps(body).encode()
  given = {"headers": http.JSON} | options
  return http.with_client(
    server, lambda client: client.post(path, content=plain, **given)
  )


def user_of(made, group):
  return example.request_of(made.bundle, made.log, group)["user"]


def test_match_answers_with_candidates_of_score(made, towers, server):
  user = user_of(towers, 4)
  answer = post(server, "/match", {"user": user, "k": 7}).json()
  found = server.funnel.index.match(user, 7)
  ads = server.funnel.index.ads
  assert answer["candidates"] == [ads[row] for row in found.rows.tolist()]
  np.testing.assert_allclose(answer["scores"], found.scores, atol=1e-6)
  assert answer["index"] == "0f"
  scored = http.post(
    server, {"user": user, "candidates": answer["candidates"]}
  ).json()
  assert len(scored["probabilities"]) == 7
  whole = post(server, "/match", {}).json()
  assert len(whole["candidates"]) == 20


def test_rank_is_match_then_pre_rank_then_score(towers, server):
  user, context = user_of(towers, 9), {"ids": {"position": 3}}
  request = {"user": user, "context": context, "n": 3}
  answer = post(server, "/rank", request).json()
  short = server.funnel.shortlist(user).rows.tolist()
  assert len(short) == 8
  candidates = [server.funnel.index.ads[row] for row in short]
  placed = [ad | {"ids": ad["ids"] | {"position": 3}} for ad in candidates]
  scored = http.post(server, {"user": user, "candidates": placed}).json()
  order = np.argsort(-np.array(scored["probabilities"]))[:3].tolist()
  assert answer["candidates"] == [candidates[i] for i in order]
  wanted = [scored["probabilities"][i] for i in order]
  np.testing.assert_allclose(answer["probabilities"], wanted, atol=1e-6)
  assert answer["bundle"] == scored["bundle"]


@pytest.mark.slow
def test_each_model_is_told_what_it_knows(tmp_path, made, monkeypatch):
  blind = bundles.towers(tmp_path, monkeypatch, model__images="none")
  server = serve(made, blind, prerank=False)
  user = user_of(made, 2)
  assert user["behaviours"]
  answer = post(server, "/rank", {"user": user})
  assert answer.status_code == 200
  assert len(answer.json()["candidates"]) == 8
  assert all("image" in ad for ad in answer.json()["candidates"])


HOSTILE = {
  "no JSON": (b"{", "body: Invalid JSON"),
  "no UTF-8": (b'{"user": "\xff"}', "body: Invalid JSON"),
  "deep": (b'{"user":' + b"[" * 100_000, "body: Invalid JSON"),
  "long number": (b'{"k":' + b"1" * 5000 + b"}", "body: Invalid JSON"),
  "no object": (b"[]", "body: expected an object"),
  "unknown key": (b'{"users": {}}', "body: expected keys among"),
  "long key": (b'{"%s": 1}' % (b"x" * 5000), "body: expected keys among"),
  "candidates": (b'{"candidates": [{}]}', "body: expected keys among"),
  "user of another kind": (b'{"user": 3}', "user: expected an object"),
  "ids of another kind": (b'{"user": {"ids": []}}', "user.ids: expected an"),
  "unknown feature": (
    b'{"user": {"ids": {"x": 1}}}',
    "user.ids: expected keys",
  ),
  "text for a row": (
    b'{"user": {"ids": {"user_id": "3"}}}',
    "user.ids.user_id: Input should be a valid integer",
  ),
  "NaN": (b'{"user": {"dense": {"numbers": [NaN, 1]}}}', "user.dense.numbers"),
  "surrogate": (b'{"user": {"behaviours": ["\\ud800"]}}', "Invalid JSON"),
  "long history": (
    json.dumps({"user": {"behaviours": ["0.png"] * 201}}).encode(),
    "user.behaviours: List should have at most 200",
  ),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("path", ["/match", "/rank"])
def test_wrong_request_is_refused_with_the_field(server, path, name):
  body, reason = HOSTILE[name]
  answer = post(server, path, body)
  assert answer.status_code == 422
  assert reason in answer.json()["error"]
  assert len(answer.content) < 1000  # What came is not sent back.


@pytest.mark.parametrize("count", [0, -1, 401, True, 1.5, "3", None])
def test_number_of_ads_is_bounded(server, count):
  answer = post(server, "/match", {"k": count})
  assert answer.status_code == 422
  assert answer.json()["error"] == "k: expected a whole number from 1 to 400"
  answer = post(server, "/rank", {"n": count})
  assert answer.json()["error"] == "n: expected a whole number from 1 to 8"


def test_size_kind_and_number_of_requests_are_bounded(made, towers):
  server = serve(made, towers, body_bytes=5000, timeout_s=0.05)
  assert post(server, "/match", b" " * 5001).status_code == 413
  plain = post(server, "/rank", b"{}", headers={"content-type": "text/plain"})
  assert plain.status_code == 415
  batcher = server.current.batcher
  batcher.coming = server.limits.waiting
  answer = post(server, "/match", b"{}")
  assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
  batcher.coming = 0

  async def silent():
    yield b"{"
    await http.asyncio.sleep(30)

  answer = http.with_client(
    server,
    lambda client: client.post("/rank", content=silent(), headers=http.JSON),
  )
  assert answer.status_code == 504
  assert batcher.coming == 0
  text = http.get(server, "/metrics").text
  assert 'dicm_funnel_requests_total{path="/match",status="503"} 1.0' in text


def test_failure_is_told_without_its_reason(made, towers, monkeypatch):
  server = serve(made, towers)

  def fails(*_):
    raise RuntimeError("out of memory")

  monkeypatch.setattr(matching.Index, "match", fails)
  answer = post(server, "/match", b"{}")
  assert answer.status_code == 500
  assert "memory" not in answer.text
  monkeypatch.undo()
  assert post(server, "/match", b"{}").status_code == 200


def test_ad_that_a_new_bundle_refuses_is_no_fault_of_the_client(made, towers):
  server = serve(made, towers)
  for ad in server.funnel.index.ads:
    ad["image"] = "gone.png"
  answer = post(server, "/rank", b"{}")
  assert answer.status_code == 500
  assert "refuses an ad: candidates.0.image" in answer.json()["error"]


def test_server_without_an_index_has_no_such_paths(made):
  server = http.serve(made.bundle.folder)
  assert post(server, "/match", b"{}").status_code == 404
  assert "/rank" not in http.get(server, "/openapi.json").json()["paths"]


def test_page_of_the_api_has_both_forms(server):
  paths = http.get(server, "/openapi.json").json()["paths"]
  for path, keys in (("/match", {"user", "k"}), ("/rank", {"user", "n"})):
    body = paths[path]["post"]["requestBody"]["content"]["application/json"]
    assert keys <= set(body["schema"]["properties"])


def test_limits_hold_for_users_of_match_too(towers):
  few = matching.Towers(towers.bundle, Limits(list_length=2))
  with pytest.raises(request_reader.RequestError, match="at most 2"):
    few.user({"behaviours": ["0.png"] * 3})
