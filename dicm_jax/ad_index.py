"""An index of ads by the vectors of a pre-rank model; a command.

python -m dicm_jax.ad_index --export=towers --out=index [--index=faiss]
  [--context='{"ids": {"position": 1}}'] [--ads=ads.jsonl]

--export is the bundle of a run with model.name='prerank'. The ads are those
that the test split of its data shows, or the lines of --ads, each a candidate
as /score takes it. They are embedded in one context. --out is a new folder:
what `hnsw.write` writes, with an ad's JSON as its key, and in `towers` a copy
of the bundle, so that users' vectors never come of another run than ads'.
"""

from collections.abc import Mapping
import functools
import json
import pathlib
import shutil
from typing import Any

from absl import app, flags

from dicm_jax import (
  bundle_data,
  command,
  errors,
  hnsw,
  out_folder,
)
from dicm_jax.data import ads as ads_lib
from dicm_jax.data import click_log, files, vectors
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import example, matching, request_reader, shared_request
from dicm_jax.serving.limits import Limits

TOWERS = "towers"
"""Folder of the bundle in that of the index."""


def build(
  export: pathlib.Path,
  out: pathlib.Path,
  library: str = "usearch",
  context: Mapping[str, Any] | None = None,
  ads: pathlib.Path | None = None,
) -> dict[str, Any]:
  """Writes the index of a bundle's ads.

  Args:
    export: folder of the bundle.
    out: an empty folder, or none yet.
    library: a key of hnsw.LIBRARIES.
    context: of the page; None: nothing is known of it.
    ads: a file with an ad a line; None: those of the data set's test split.

  Returns:
    What index.json says: as `hnsw.write`, and `context`.

  Raises:
    InputError: no such bundle, or its network has no towers; an ad or the
      context is wrong; no such library; or the folder holds files or cannot
      be written.
  """
  out_folder.check_free(out)
  bundle, context = bundle_lib.read(export), context or {}
  towers = matching.Towers(bundle, Limits())
  known = _read_ads(ads) if ads else of_data(bundle, _data(bundle))
  try:
    _check_keys(bundle, known, context)
    values = towers.ads(known, context)
  except request_reader.RequestError as e:
    raise errors.InputError(
      f"{ads or 'the ads'}, --context: {e} (candidates count from 0)"
    ) from e
  of_ads = vectors.Vectors(
    keys=tuple(map(key_of, known)),
    values=values,
    encoder=f"ad tower of run {bundle.manifest['config_digest'][:8]}",
    digest=bundle.digest,
    similarity="inner",
  )
  built = hnsw.build(library, values, "inner")
  with out_folder.filling(out) as folder:
    shutil.copytree(bundle.folder, folder / TOWERS)
    return hnsw.fill(folder, built, of_ads, {"context": context})


def _check_keys(bundle: bundle_lib.Bundle, known, context) -> None:
  """Raises RequestError where an ad or the context says what nobody reads."""
  keys = shared_request.context_keys([bundle])
  shared_request.check_keys("context", context, keys)
  keys = shared_request.ad_keys(bundle)
  for number, ad in enumerate(known):
    shared_request.check_keys(f"candidates.{number}", ad, keys)


def read(folder: pathlib.Path, limits: Limits | None = None) -> matching.Index:
  """Reads an index that `build` wrote.

  Raises:
    InputError: the folder holds none, or a file of it is damaged; or the bundle
      in it is not the one that embedded the ads.
  """
  folder = folder.resolve()  # A link may point elsewhere meanwhile.
  found = hnsw.read(folder)
  if "context" not in found.about:
    raise errors.InputError(
      f"{folder}: expected an index made by dicm_jax.ad_index, found one of "
      f"{found.vectors.encoder or 'other vectors'}"
    )
  bundle = bundle_lib.read(folder / TOWERS)
  if bundle.digest != found.vectors.digest:
    raise errors.InputError(
      f"{bundle.folder}: expected bundle {found.vectors.digest[:8]}, which "
      f"embedded the ads, found {bundle.digest[:8]}"
    )
  return matching.Index(
    ads=tuple(map(json.loads, found.vectors.keys)),
    context=found.about["context"],
    towers=matching.Towers(bundle, limits or Limits()),
    search=functools.partial(hnsw.search, found.items),
    digest=files.digest(folder / hnsw.ABOUT),
  )


def read_funnel(
  index: pathlib.Path,
  prerank: pathlib.Path | None,
  rank: bundle_lib.Bundle,
  limits: Limits,
  *,
  match_k: int,
  prerank_k: int,
) -> matching.Funnel:
  """An index, and a bundle that orders what it finds for a rank model.

  Args:
    index: folder of the index.
    prerank: folder of a pre-rank model's bundle; None: the index orders.
    rank: of the rank model.
    limits: of requests.
    match_k: ads that match finds.
    prerank_k: ads that are left.

  Raises:
    InputError: as `read`; the bundle of --prerank has no towers; one of both
      refuses the index's ads; or there are more than a request may have.
  """
  for name, k in (("match_k", match_k), ("prerank_k", prerank_k)):
    if not 1 <= k <= limits.candidates:
      raise errors.InputError(
        f"--{name}: expected 1 to --max_candidates={limits.candidates}, found "
        f"{k}"
      )
  found, order = read(index, limits), None
  try:
    matching.read_ads(rank, found.ads, found.context)
    if prerank:
      towers = matching.Towers(bundle_lib.read(prerank), limits)
      order = matching.PreRank(found, towers)
  except request_reader.RequestError as e:
    raise errors.InputError(f"{index}: an ad is refused: {e}") from e
  return matching.Funnel(
    index=found, prerank=order, match_k=match_k, prerank_k=prerank_k
  )


def key_of(ad: shared_request.Ad) -> str:
  """An ad as text; equal ads have equal texts."""
  return json.dumps(
    ad, sort_keys=True, separators=(",", ":"), ensure_ascii=False
  )


def _data(bundle: bundle_lib.Bundle) -> click_log.Dataset:
  try:
    return bundle_data.of(bundle)
  except errors.InputError as e:
    raise errors.InputError(f"{e}; give the ads by --ads") from e


def of_data(
  bundle: bundle_lib.Bundle, data: click_log.Dataset
) -> list[dict[str, Any]]:
  """The distinct ads that the test split of a data set shows.

  Each has its picture, whether the bundle's network sees it or not, and nothing
  of the places where it was shown.

  Raises:
    InputError: a field of the ads is hashed, so that nobody knows its values.
  """
  for field in bundle.fields.of("ad"):
    if field.values == "hash":
      raise errors.InputError(
        f"feature {field.name!r} is hashed, and its values are not kept; give "
        "the ads by --ads"
      )
  log, found = data.test, {}
  for sample in ads_lib.first_samples(log).tolist():
    ad = _of_ad_alone(bundle, example.candidate_of(bundle, log, sample))
    if len(data.image_names):
      row = int(log.ad_image[sample])
      ad["image"] = None if row == data.no_image else data.image_names[row]
    found.setdefault(key_of(ad), ad)
  return list(found.values())


def _of_ad_alone(
  bundle: bundle_lib.Bundle, candidate: dict[str, Any]
) -> dict[str, Any]:
  """A candidate without what is of its place."""
  fields = bundle.fields
  context = [*fields.of("context"), *fields.numbers("context")]
  places = {field.name for field in context}
  return {
    key: {name: value for name, value in of.items() if name not in places}
    if isinstance(of, dict)
    else of
    for key, of in candidate.items()
  }


def _read_ads(path: pathlib.Path) -> list[dict[str, Any]]:
  """Objects, one a line."""
  try:
    lines = path.read_text(encoding="utf-8").splitlines()
  except (OSError, UnicodeDecodeError) as e:
    raise errors.InputError(f"--ads: {path}: cannot be read: {e}") from e
  found: dict[str, dict[str, Any]] = {}
  for number, line in enumerate(lines, start=1):
    ad = _object(line, f"--ads: {path}: line {number}")
    if found.setdefault(key_of(ad), ad) is not ad:
      raise errors.InputError(
        f"--ads: {path}: line {number}: expected distinct ads, found one again"
      )
  if not found:
    raise errors.InputError(f"--ads: {path}: expected an ad a line, found none")
  return list(found.values())


def _object(text: str, where: str) -> dict[str, Any]:
  try:
    found = json.loads(text)
  except (ValueError, RecursionError) as e:
    raise errors.InputError(f"{where}: expected JSON: {e}") from e
  if not isinstance(found, dict):
    raise errors.InputError(f"{where}: expected an object, found {text[:40]!r}")
  return found


def _run(values: flags.FlagValues) -> dict[str, Any]:
  return build(
    pathlib.Path(values.export),
    pathlib.Path(values.out),
    values.index,
    _object(values.context, "--context"),
    pathlib.Path(values.ads) if values.ads else None,
  )


def main(argv: list[str]) -> None:
  del argv
  try:
    command.start(flags.FLAGS)
    about = _run(flags.FLAGS)
  except errors.InputError as e:
    command.fail(e)
  else:
    command.show(about)


if __name__ == "__main__":
  flags.DEFINE_string("export", None, "Folder of the bundle.", required=True)
  flags.DEFINE_string("out", None, "New folder to write.", required=True)
  flags.DEFINE_string("index", "usearch", " or ".join(hnsw.LIBRARIES))
  flags.DEFINE_string("context", "{}", "Of the page, as /score takes it.")
  flags.DEFINE_string("ads", "", "A file with an ad a line; empty: the data's.")
  command.define_devices()
  app.run(main, flags_parser=command.parse_flags)
