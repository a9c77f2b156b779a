"""What drove one score of a bundle's model, as a table; a command.

python -m dicm_jax.explain --export=bundle [--request=file.json] [--ad=0]
  [--top=20] [--engine=auto]

Integrated gradients over the short vectors of ids and pictures;
docs/explorer.md has the baseline and the source. Without --request the
bundle's own example is explained.
"""

import math
import pathlib

from absl import app, flags

from dicm_jax import command, errors
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import engine as engine_lib
from dicm_jax.serving import explain, request_reader
from dicm_jax.serving.limits import Limits

KINDS = {
  "behaviour": "picture clicked before",
  "picture": "picture of the ad",
  "id": "id",
}


def run(
  export: pathlib.Path, request: str, ad: int, top: int, engine: str
) -> str:
  """The table of one ad.

  Args:
    export: folder of a bundle.
    request: file of a page view, as the server is asked for it; "": the
      bundle's example.
    ad: number of the candidate, from 0.
    top: parts to show, the largest first.
    engine: one of engine.ENGINES.

  Raises:
    InputError: as `engine.start`; the request cannot be read or is wrong; or
      it has no such ad.
  """
  at_work = engine_lib.start(export, engine, Limits())
  path = pathlib.Path(request) if request else export / bundle_lib.EXAMPLE
  try:
    log = at_work.reader.read(path.read_bytes()).log
  except OSError as e:
    raise errors.InputError(f"--request: {path}: {e.strerror}") from e
  except request_reader.RequestError as e:
    raise errors.InputError(f"--request: {path}: {e}") from e
  found = explain.explain(at_work.bundle, at_work.name, log, ad)
  return table(found, top)


def table(found: explain.Explanation, top: int) -> str:
  """An explanation, line by line."""
  lines = [f"{part.share:+9.4f}  {_name(part)}" for part in found.parts[:top]]
  rest = found.parts[top:]
  if rest:
    lines.append(
      f"{sum(part.share for part in rest):+9.4f}  {len(rest)} smaller parts"
    )
  return "\n".join(
    [
      _total(found.baseline, "unknown ids and mean pictures"),
      *lines,
      f"{found.missed:+9.4f}  not shared out, after {found.steps} steps",
      _total(found.logit, "the score"),
    ]
  )


def _total(logit: float, what: str) -> str:
  p = 1 / (1 + math.exp(-logit))
  return f"{logit:+9.4f}  {what}: probability {p:.4f}"


def _name(part: explain.Part) -> str:
  what = part.field or KINDS[part.kind]
  if part.kind == "behaviour":
    what += f" {part.place}"
  return f"{what} = {part.value}"


def main(argv: list[str]) -> None:
  del argv
  values = flags.FLAGS
  try:
    command.start_logs()
    export = pathlib.Path(values.export)
    text = run(export, values.request, values.ad, values.top, values.engine)
  except errors.InputError as e:
    command.fail(e)
  else:
    print(text)


if __name__ == "__main__":
  flags.DEFINE_string("export", None, "Folder of a bundle.", required=True)
  flags.DEFINE_string("request", "", "File of a page view; else the example.")
  flags.DEFINE_integer("ad", 0, "Number of the candidate, from 0.")
  flags.DEFINE_integer("top", 20, "Parts to show.", 1)
  flags.DEFINE_string("engine", "auto", "auto, numpy or artifact.")
  app.run(main, flags_parser=command.parse_flags)
