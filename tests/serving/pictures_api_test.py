"""Pictures that come over HTTP are scored as those of the bundle."""

import asyncio
import base64
import copy
import time
import zlib

import numpy as np
import pytest

from dicm_jax.serving import server as server_lib
from dicm_jax.serving.limits import Limits
from tests import toy
from tests.serving import http

LIMITS = Limits(
  timeout_s=60.0, pictures=3, picture_bytes=3000, uploads=2, waiting=8
)


@pytest.fixture(scope="module")
def server(made):
  return server_lib.Server(made.bundle.folder, "auto", LIMITS, pictures=True)


def picture(number: int) -> bytes:
  """The toy's picture of a row."""
  return toy.dataset().image_bytes[number]


def text(data: bytes) -> str:
  return base64.b64encode(data).decode()


def upload(server, key: str, data: bytes):
  return http.with_client(
    server, lambda client: client.post(f"/images/{key}", content=data)
  )


def scores(server, request):
  answer = http.post(server, request)
  assert answer.status_code == 200, answer.text
  return answer.json()["probabilities"]


def sent(request):
  """The same with pictures in place of names, and how many there are."""
  out = copy.deepcopy(request)
  for ad in out["candidates"][:2]:
    name = ad.pop("image")
    ad["picture"] = text(picture(int(name.removesuffix(".png"))))
  past = out["user"]["behaviours"]
  past[0] = {"picture": text(picture(int(past[0].removesuffix(".png"))))}
  return out


def test_pictures_of_a_request_score_as_those_of_the_bundle(made, server):
  request = made.bundle.example()
  answer = http.post(server, sent(request))
  assert answer.status_code == 200, answer.text
  assert not {"candidates.image", "user.behaviours"} & set(
    answer.json()["unknown"]
  )
  expected = scores(server, request)
  # The encoder was given other pictures at a time.
  np.testing.assert_allclose(
    answer.json()["probabilities"], expected, rtol=0, atol=1e-5
  )
  other = copy.deepcopy(request)
  other["candidates"][0].pop("image")
  other["candidates"][0]["picture"] = text(picture(20))
  assert abs(scores(server, other)[0] - expected[0]) > 1e-4


@pytest.mark.slow
def test_artifact_scores_pictures_of_a_request(made):
  limits = Limits(timeout_s=60.0, candidates=16)
  server = server_lib.Server(
    made.bundle.folder, "artifact", limits, pictures=True
  )
  request = made.bundle.example()
  request["candidates"] = request["candidates"][:16]
  # The encoder was given other pictures at a time.
  np.testing.assert_allclose(
    scores(server, sent(request)), scores(server, request), rtol=0, atol=1e-5
  )


def test_uploaded_picture_can_be_named(made):
  server = server_lib.Server(made.bundle.folder, "auto", LIMITS, pictures=True)
  answer = upload(server, "shop/new.png", picture(5))
  assert answer.status_code == 201
  assert answer.json()["key"] == "shop/new.png"
  known = {"candidates": [{"image": "5.png"}]}
  new = {"candidates": [{"image": "shop/new.png"}]}
  # The encoder was given other pictures at a time.
  np.testing.assert_allclose(
    scores(server, new), scores(server, known), rtol=0, atol=1e-5
  )
  assert upload(server, "shop/new.png", picture(5)).status_code == 200
  assert upload(server, "shop/new.png", picture(6)).status_code == 409
  assert upload(server, "7.png", picture(7)).status_code == 409
  assert upload(server, "more", picture(6)).status_code == 201
  assert upload(server, "too many", picture(6)).status_code == 507
  assert http.get(server, "/version").json()["uploaded"] == 2


def ad(given, **more):
  return {"candidates": [{"picture": given, **more}]}


WRONG = {
  "no text": (ad(7), "candidates.0.picture: expected base64 text"),
  "no base64": (ad("!!"), "candidates.0.picture: expected base64 text"),
  "no picture": (ad(text(b"GIF89a")), "expected a JPEG or a PNG"),
  "cut": (ad(text(picture(0)[:60])), "candidates.0.picture: damaged or cut"),
  "both": (ad(text(picture(0)), image="3.png"), "found both"),
  "large": (
    ad(text(b"\xff\xd8\xff" + bytes(3000))),
    "candidates.0.picture: expected at most 3000 bytes",
  ),
  "too many": (
    {"candidates": [{"picture": text(picture(0))}] * 4},
    "candidates.3.picture: expected at most 3 pictures",
  ),
  "behaviour of two": (
    {
      "candidates": [{"image": "3.png"}],
      "user": {"behaviours": [{"picture": "", "image": ""}]},
    },
    "user.behaviours.0: Input should be a valid string",
  ),
  "elsewhere": (
    {"candidates": [{"image": "3.png"}], "context": {"picture": ""}},
    "context.picture: Extra inputs",
  ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_picture_is_refused_with_the_field(server, name):
  request, reason = WRONG[name]
  answer = http.post(server, request)
  assert answer.status_code == 422
  assert reason in answer.json()["error"]
  assert server.current.worker._waiting == 0


def bomb() -> bytes:
  """A PNG of a few bytes that says it has 60 000 x 60 000 pixels."""
  data = bytearray(picture(0))
  data[16:24] = (60_000).to_bytes(4, "big") * 2
  data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
  return bytes(data)


@pytest.mark.parametrize(
  ("key", "data", "status", "reason"),
  [
    ("a", b"", 422, "expected a JPEG or a PNG"),
    ("a", bytes(3001), 413, "at most 3000 bytes"),
    ("a" * 513, b"", 422, "key: expected 1 to 512"),
    ("%00a", b"", 422, "key: expected"),
    ("bomb", bomb(), 422, "expected a picture of at most 64,000,000 pixels"),
  ],
  ids=["empty", "large", "long key", "key of no text", "bomb"],
)
def test_wrong_upload_is_refused(server, key, data, status, reason):
  answer = upload(server, key, data)
  assert answer.status_code == status
  assert reason in answer.json()["error"]


def test_encoder_is_loaded_when_the_first_picture_comes(made):
  server = server_lib.Server(made.bundle.folder, "auto", LIMITS)
  first = upload(server, "new", picture(0))
  assert first.status_code == 503
  assert first.headers["retry-after"] == "5"
  assert http.post(server, ad(text(picture(0)))).status_code == 503
  end = time.monotonic() + 60
  while server.current.worker._embed is None and time.monotonic() < end:
    time.sleep(0.05)
  assert upload(server, "new", picture(0)).status_code == 201


def test_waiting_pictures_are_bounded(made, server):
  def slow(pictures, names):
    time.sleep(0.2)
    return np.zeros((len(pictures), made.bundle.images.shape[1]), np.float32)

  worker = server.current.worker
  works, worker._embed, most = worker._embed, slow, worker._most
  worker._most = 3

  async def work(client):
    asked = [client.post("/score", json=ad(text(picture(i)))) for i in range(6)]
    return await asyncio.gather(*asked)

  try:
    answers = http.with_client(server, work)
  finally:
    worker._embed, worker._most = works, most
  assert sorted(a.status_code for a in answers) == [200] * 3 + [503] * 3
  assert "pictures wait already" in answers[-1].json()["error"]


def test_page_of_the_api_tells_of_pictures(server):
  page = http.get(server, "/openapi.json").json()
  assert "picture" in page["components"]["schemas"]["Candidate"]["properties"]
  upload_ = page["paths"]["/images/{key}"]["post"]["requestBody"]
  assert set(upload_["content"]) == {"image/jpeg", "image/png"}
