"""Train, export, serve, curl: the commands of docs/serving.md as they stand."""

import contextlib
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest

from dicm_jax import evaluate, restore
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import example

ROOT = pathlib.Path(__file__).parents[2]
SECONDS = 120
"""For the server to answer."""


def commands() -> list[list[str]]:
  """The page's first four, split into words."""
  text = (ROOT / "docs" / "serving.md").read_text()
  joined = re.sub(r" \\\n +", " ", text)
  found = re.findall(r"^    ((?:python|curl) .*)$", joined, re.MULTILINE)[:4]
  return [line.replace("'", "").split() for line in found]


def curl(words: list[str], port: int) -> list[str]:
  """The same command for another port; the header is one word again."""
  words = [word.replace(":8000", f":{port}") for word in words]
  at = words.index("content-type:")
  return [*words[:at], " ".join(words[at : at + 2]), *words[at + 2 :]]


@contextlib.contextmanager
def serving(words: list[str], folder: pathlib.Path):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  process = subprocess.Popen([*words, f"--port={port}"], cwd=folder)
  try:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and process.poll() is None:
      with contextlib.suppress(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{port}/health")
        break
      time.sleep(0.2)
    yield port
  finally:
    process.terminate()
    process.wait()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_four_commands_lead_from_clicks_to_evaluations_scores(tmp_path):
  (tmp_path / "configs").symlink_to(ROOT / "configs")
  train, export, serve, ask = commands()
  assert (train[2], export[2], serve[2]) == (
    "dicm_jax.main",
    "dicm_jax.export",
    "dicm_jax.serve",
  )
  for words in ([*train, "--config.train.steps=20"], export):
    subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, check=True)
  restored = restore.restore(tmp_path / "runs" / "quick")
  expected = evaluate.evaluate(restored.x, restored.state, restored.config)
  made, log = bundle_lib.read(tmp_path / "bundle"), restored.x.data.test
  with serving([sys.executable, *serve[1:]], tmp_path) as port:
    answer = subprocess.run(
      curl(ask, port), cwd=tmp_path, check=True, capture_output=True
    )
    shown = json.loads(answer.stdout)["probabilities"]
    assert len(shown) == len(made.example()["candidates"])

    found: list[float] = []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
      for group in range(log.num_groups):
        asked = client.post("/score", json=example.request_of(made, log, group))
        found += asked.raise_for_status().json()["probabilities"]
  np.testing.assert_allclose(found, expected.probability, rtol=0, atol=1e-5)
