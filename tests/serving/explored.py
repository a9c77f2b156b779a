"""The explorer over the toy data: its folder, an application, an embedder."""

import asyncio
from collections.abc import Awaitable, Callable
import pathlib
from typing import TypeVar

import httpx
import numpy as np

from dicm_jax import experiment, explore_data
from dicm_jax.data import images
from dicm_jax.serving import app as app_lib
from dicm_jax.serving import explore_folder, explorer
from tests import toy
from tests.serving import http

Answer = TypeVar("Answer")


def folder(made, at: pathlib.Path, patch, *, views=8, max_pictures=100):
  """The folder of the toy's page views."""
  with patch.context() as patched:
    patched.setattr(experiment, "load_data", lambda _: toy.dataset())
    explore_data.write(made.bundle.folder, at, views, max_pictures)
  return explore_folder.read(at)


def embedder(bundle):
  """Embeds a picture as the toy's picture of the nearest colour."""
  known = colours(toy.dataset().image_bytes)

  def embed(pictures):
    asked = colours(pictures)
    far = ((asked[:, None] - known[None]) ** 2).sum(axis=2)
    return bundle.images[far.argmin(axis=1)]

  return embed


def colours(pictures) -> np.ndarray:
  decoded = [images.decode(data, name="p", size=4) for data in pictures]
  return np.array([pixels.mean((0, 1)) for pixels in decoded], float)


def with_client(
  made,
  shown: explorer.Explorer,
  work: Callable[[httpx.AsyncClient], Awaitable[Answer]],
  **limits,
) -> Answer:
  """Runs `work` in an event loop of its own."""
  server = http.serve(made.bundle.folder, **limits)

  async def run() -> Answer:
    app = app_lib.make(server, explorer=shown)
    async with httpx.AsyncClient(
      transport=httpx.ASGITransport(app), base_url="http://test", timeout=60
    ) as client:
      return await work(client)

  return asyncio.run(run())
