"""The server scores as evaluation does, and refuses what it must."""

import asyncio
import json

import numpy as np
import pydantic
import pytest

from dicm_jax.serving import example, request_reader
from tests.serving import http


@pytest.fixture(scope="module")
def server(made):
  return http.serve(made.bundle.folder)


def requests_of(made, groups):
  return [
    json.dumps(example.request_of(made.bundle, made.log, group)).encode()
    for group in groups
  ]


def all_at_once(server, bodies):
  async def work(client):
    asked = [
      client.post("/score", content=body, headers=http.JSON) for body in bodies
    ]
    return await asyncio.gather(*asked)

  return http.with_client(server, work)


def assert_scored(made, answers):
  assert [a.status_code for a in answers] == [200] * len(answers)
  found = [p for a in answers for p in a.json()["probabilities"]]
  # Float32 sums in another order; seven digits in the answer.
  np.testing.assert_allclose(found, made.probability, rtol=0, atol=1e-5)


def test_requests_at_once_are_scored_as_evaluation_does(made, server):
  bodies = requests_of(made, range(made.log.num_groups))
  assert_scored(made, all_at_once(server, bodies))
  text = http.get(server, "/metrics").text
  counted = {
    line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
    for line in text.splitlines()
    if not line.startswith("#")
  }
  assert counted['dicm_requests_total{status="200"}'] == len(bodies)
  assert counted["dicm_latency_seconds_count"] == len(bodies)
  # Several were scored in one call.
  assert counted["dicm_batch_requests_count"] < len(bodies)
  assert counted["dicm_batch_samples_sum"] == made.log.num_samples
  digest = made.bundle.digest
  assert counted[f'dicm_bundle{{digest="{digest}"}}'] == 1


@pytest.mark.slow
def test_artifact_scores_requests_as_evaluation_does(made):
  server = http.serve(made.bundle.folder, "artifact", candidates=16)
  assert server.current.engine.name == "artifact"
  bodies = requests_of(made, range(made.log.num_groups))
  assert_scored(made, all_at_once(server, bodies))


def test_what_is_unknown_is_told_by_field(made, server):
  request = made.bundle.example()
  request["user"]["ids"] = {"user_id": 10**30, "liked": [1, -5, None]}
  request["user"]["behaviours"].append("nobody.png")
  del request["candidates"][0]["ids"]["ad_id"]
  answer = http.post(server, request).json()
  assert answer["bundle"] == made.bundle.digest
  assert len(answer["probabilities"]) == len(request["candidates"])
  unknown = answer["unknown"]
  assert unknown["user.ids.user_id"] == 1
  assert unknown["user.ids.liked"] == 2
  assert unknown["user.behaviours"] == 1
  assert unknown["candidates.ids.ad_id"] == 1


def test_nothing_but_candidates_must_be_given(made, server):
  request = {"candidates": [{"image": "3.png"}, {"image": "3.png"}]}
  first, second = http.post(server, request).json()["probabilities"]
  assert first == second


HOSTILE = {
  "no JSON": (b"{", "body: Invalid JSON"),
  "no UTF-8": (b'{"candidates": [{"image": "\xff"}]}', "body: Invalid JSON"),
  "lone surrogate": (
    b'{"candidates": [{"image": "\\ud800"}]}',
    "body: Invalid JSON",
  ),
  "no object": (b"[]", "body: Input should be an object"),
  "deep": (b'{"candidates":' + b"[" * 100_000, "body: Invalid JSON"),
  "no candidates": (b"{}", "candidates: Field required"),
  "none of them": (b'{"candidates": []}', "candidates: List should have at"),
  "number for a list": (b'{"candidates": 7}', "candidates: Input should be"),
  "unknown key": (
    b'{"candidates": [{}], "users": {}}',
    "users: Extra inputs are not permitted",
  ),
  "unknown feature": (
    b'{"candidates": [{"ids": {"colour": 3}}]}',
    "candidates.0.ids.colour: Extra inputs",
  ),
  "text for a row": (
    b'{"candidates": [{"ids": {"ad_id": "3"}}]}',
    "candidates.0.ids.ad_id: Input should be a valid integer",
  ),
  "truth for a row": (
    b'{"candidates": [{"ids": {"ad_id": true}}]}',
    "candidates.0.ids.ad_id: Input should be a valid integer",
  ),
  "NaN": (
    b'{"candidates": [{"dense": {"numbers": NaN}}]}',
    "candidates.0.dense.numbers",
  ),
  "infinity": (
    b'{"candidates": [{"dense": {"numbers": 1e999}}]}',
    "candidates.0.dense.numbers",
  ),
  "too few numbers": (
    b'{"candidates": [{}], "user": {"dense": {"numbers": [1.0]}}}',
    "user.dense.numbers: List should have at least 2",
  ),
  "weight alone": (
    b'{"candidates": [{"ids": {"tags": [{"weight": 1}]}}]}',
    "candidates.0.ids.tags.0.value: Field required",
  ),
  "long history": (
    json.dumps(
      {"candidates": [{}], "user": {"behaviours": ["0.png"] * 201}}
    ).encode(),
    "user.behaviours: List should have at most 200",
  ),
  "many candidates": (
    json.dumps({"candidates": [{"image": "0.png"}] * 401}).encode(),
    "candidates: List should have at most 400",
  ),
  "long name": (
    json.dumps({"candidates": [{"image": "x" * 600}]}).encode(),
    "candidates.0.image: String should have at most 512",
  ),
  "no picture": (
    b'{"candidates": [{"image": "0.png"}, {}]}',
    "candidates.1.image: expected the name of a picture",
  ),
  "picture of elsewhere": (
    b'{"candidates": [{"image": "../../etc/passwd"}]}',
    "candidates.0.image: expected the name of a picture",
  ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_wrong_request_is_refused_with_the_field(server, name):
  body, reason = HOSTILE[name]
  answer = http.post(server, body)
  assert answer.status_code == 422
  assert reason in answer.json()["error"]
  assert len(answer.content) < 1000  # What came is not sent back.


def test_numbers_that_overflow_are_refused(server):
  huge = {"candidates": [{"image": "0.png", "dense": {"numbers": 1e30}}]}
  huge["user"] = {"dense": {"numbers": [1e30, -1e30]}}
  answer = http.post(server, huge)
  if answer.status_code == 200:  # The network may saturate instead.
    assert all(0 <= p <= 1 for p in answer.json()["probabilities"])
  else:
    assert "overflow" in answer.json()["error"]


def test_size_and_kind_of_the_body_are_checked(made):
  server = http.serve(made.bundle.folder, body_bytes=5000)
  assert http.post(server, b" " * 5001).status_code == 413

  async def endless():
    while True:
      yield b" " * 1000

  async def stream(client):
    return await client.post("/score", content=endless(), headers=http.JSON)

  answer = http.with_client(server, stream)
  assert answer.status_code == 413
  assert answer.json()["error"] == "body: expected at most 5000 bytes"
  plain = http.post(server, b"{}", headers={"content-type": "text/plain"})
  assert plain.status_code == 415
  assert http.get(server, "/score").status_code == 405


def test_overload_is_told_and_passes(made):
  server = http.serve(made.bundle.folder, waiting=2)
  bodies = requests_of(made, range(8))
  answers = all_at_once(server, bodies)
  refused = [a for a in answers if a.status_code == 503]
  assert 0 < len(refused) < len(bodies)
  assert {a.headers["retry-after"] for a in refused} == {"1"}
  assert http.post(server, bodies[0]).status_code == 200


def test_slow_request_is_given_up(made, monkeypatch):
  server = http.serve(made.bundle.folder, timeout_s=0.05)

  async def silent():
    yield b"{"
    await asyncio.sleep(30)

  async def stall(client):
    return await client.post("/score", content=silent(), headers=http.JSON)

  answer = http.with_client(server, stall)
  assert answer.status_code == 504
  assert "0.05 s" in answer.json()["error"]
  assert server.current.batcher.coming == 0


def test_failing_scorer_fails_its_requests_alone(made, monkeypatch):
  server = http.serve(made.bundle.folder)
  batcher = server.current.batcher
  works = batcher.scorer

  def fails(log):
    raise RuntimeError("out of memory")

  batcher.scorer = fails
  (body,) = requests_of(made, [0])

  async def work(client):
    before = await client.post("/score", content=body, headers=http.JSON)
    batcher.scorer = works
    after = await client.post("/score", content=body, headers=http.JSON)
    return before, after

  before, after = http.with_client(server, work)
  assert (before.status_code, after.status_code) == (500, 200)
  assert "memory" not in before.text


def test_page_of_the_api_has_the_fields_and_a_working_example(made, server):
  page = http.get(server, "/openapi.json").json()
  score = page["paths"]["/score"]["post"]
  content = score["requestBody"]["content"]["application/json"]
  answer = http.post(server, content["example"])
  assert answer.status_code == 200
  parts = page["components"]["schemas"]
  assert set(parts["CandidateIds"]["properties"]) == {
    "ad_id",
    "position",
    "tags",
  }
  assert parts["Candidate"]["additionalProperties"] is False
  assert {"413", "422", "503", "504"} < set(score["responses"])


def test_version_says_what_answers(made, server):
  assert http.get(server, "/health").json() == {"status": "ok"}
  version = http.get(server, "/version").json()
  assert version["bundle"] == made.bundle.digest
  assert (version["engine"], version["model"]) == ("numpy", "dicm")
  assert version["step"] == 3


def test_reasons_do_not_grow_with_the_mistakes(made, server):
  reader = server.current.engine.reader
  body = json.dumps({"candidates": [{"x": 1}] * 300}).encode()
  with pytest.raises(request_reader.RequestError, match="and 295 more") as e:
    reader.read(body)
  assert isinstance(e.value.__cause__, pydantic.ValidationError)
