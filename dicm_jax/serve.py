"""A server that scores the ads of page views by an exported model; a command.

python -m dicm_jax.serve --export=bundle [--port=8000] [--host=127.0.0.1]
  [--match=index [--prerank=towers]] [--explore=FOLDER [--compare=bundle]]

docs/serving.md has the API. A new bundle put in place of the old one is taken
up while requests run; a bad one is refused, and the old one stays.
"""

import pathlib

from absl import app, flags

from dicm_jax import ad_index, command, errors
from dicm_jax.serving.limits import Limits

_LIMITS = Limits()
_STOP_S = 5
"""Seconds that requests in flight may take after a stop."""


def run(values: flags.FlagValues) -> None:
  """Serves until it is stopped.

  Raises:
    InputError: a flag or the bundle is wrong, or the extra is not installed.
  """
  try:
    import threadpoolctl
    import uvicorn

    from dicm_jax.serving import app as app_lib
    from dicm_jax.serving import server as server_lib
  except ModuleNotFoundError as e:
    raise errors.InputError(
      f"the server needs {e.name}: pip install 'dicm_jax[serve]'"
    ) from e
  limits = Limits(
    body_bytes=values.max_body_bytes,
    candidates=values.max_candidates,
    list_length=values.max_list_length,
    timeout_s=values.timeout_s,
    waiting=values.max_waiting,
    batch=values.max_batch,
    window_s=values.window_ms / 1000,
    uploads=values.max_uploads,
  )
  server = server_lib.Server(
    pathlib.Path(values.export),
    values.engine,
    limits,
    deltas=pathlib.Path(values.deltas) if values.deltas else None,
    pictures=values.pictures,
  )
  server.funnel = _funnel(values, server, limits)
  explorer = _explorer(values, limits)
  # Products of a request are small: threads that share one wait for each other,
  # and take the core that reads the next.
  with threadpoolctl.threadpool_limits(1, "blas"):
    uvicorn.run(
      app_lib.make(server, values.watch_s, explorer),
      host=values.host,
      port=values.port,
      log_level="warning",
      access_log=False,
      timeout_graceful_shutdown=_STOP_S,
    )


def _funnel(values: flags.FlagValues, server, limits: Limits):
  """What --match finds ads by; None: nothing.

  Raises:
    InputError: as `ad_index.read_funnel`.
  """
  if not values.match:
    if values.prerank:
      raise errors.InputError("--prerank: expected --match=FOLDER too")
    return None
  return ad_index.read_funnel(
    pathlib.Path(values.match),
    pathlib.Path(values.prerank) if values.prerank else None,
    server.current.engine.bundle,
    limits,
    match_k=values.match_k,
    prerank_k=values.prerank_k,
  )


def _explorer(values: flags.FlagValues, limits: Limits):
  """What --explore shows; None: nothing.

  Raises:
    InputError: as `explore_folder.read`, `engine.start` and `Explorer`.
  """
  from dicm_jax.serving import (
    engine,
    explore_folder,
    explore_pictures,
    explorer,
  )

  if not values.explore:
    if values.compare:
      raise errors.InputError("--compare: expected --explore=FOLDER too")
    return None
  folder = explore_folder.read(pathlib.Path(values.explore))
  other = None
  if values.compare:
    other = engine.start(pathlib.Path(values.compare), values.engine, limits)
  return explorer.Explorer(folder, other, explore_pictures.Embedders())


def main(argv: list[str]) -> None:
  del argv
  try:
    command.start_logs()
    run(flags.FLAGS)
  except errors.InputError as e:
    command.fail(e)


def define_flags() -> None:
  flags.DEFINE_string("export", None, "Folder of a bundle.", required=True)
  flags.DEFINE_string("deltas", "", "Folder of deltas, besides the bundle's.")
  flags.DEFINE_bool("pictures", False, "Load the pictures' encoder at once.")
  flags.DEFINE_string("host", "127.0.0.1", "Address to listen on.")
  number, real = flags.DEFINE_integer, flags.DEFINE_float
  number("port", 8000, "Port to listen on.", 0, 65535)
  flags.DEFINE_string("engine", "auto", "auto, numpy or artifact.")
  text = flags.DEFINE_string
  text("match", "", "Folder of an index of ads: adds /match and /rank.")
  text("prerank", "", "Folder of a bundle whose towers order what is found.")
  number("match_k", 400, "Ads that match finds.", 1)
  number("prerank_k", 50, "Ads that the model of --export ranks.", 1)
  real("watch_s", 2.0, "Seconds between looks for a new bundle; 0: none.", 0.0)
  flags.DEFINE_string("explore", "", "Folder of explore_data to show.")
  flags.DEFINE_string("compare", "", "Second bundle that the explorer shows.")
  number("max_body_bytes", _LIMITS.body_bytes, "Of a request's body.", 1)
  number("max_candidates", _LIMITS.candidates, "Ads of a request.", 1)
  number("max_list_length", _LIMITS.list_length, "Values of a list.", 1)
  number("max_uploads", _LIMITS.uploads, "Uploaded pictures that are kept.", 1)
  real("timeout_s", _LIMITS.timeout_s, "Seconds for a request.", 0.001)
  number("max_waiting", _LIMITS.waiting, "Requests in flight.", 1)
  number("max_batch", _LIMITS.batch, "Requests that are scored together.", 1)
  real("window_ms", 1e3 * _LIMITS.window_s, "Wait for others to join.", 0.0)


if __name__ == "__main__":
  define_flags()
  app.run(main, flags_parser=command.parse_flags)
