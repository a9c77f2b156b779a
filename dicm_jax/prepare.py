"""Turns a click log and its pictures into a data set that training reads.

python -m dicm_jax.prepare --format=table --samples=log.csv --images=pictures \
  --schema=schema.toml --backbone=squeezenet --out=prepared
python -m dicm_jax.prepare --infer --samples=log.csv > schema.toml
python -m dicm_jax.prepare --encoder=runs/pairwise --out=embeddings.parquet \
  [--data=prepared]
python -m dicm_jax.prepare --encoder=runs/pairwise --queries=queries.txt \
  --out=queries.parquet

The last two embed all pictures of a data set, or of the sample, and queries,
one a line or in a column `query`. After the others:
python -m dicm_jax.main --config=... --config.data.path=prepared
"""

from collections.abc import Callable
import dataclasses
import logging
import pathlib
import shlex
from typing import Any

from absl import app, flags

from dicm_jax import (
  beam,
  command,
  embed_items,
  embed_queries,
  errors,
  extraction,
  progress,
)
from dicm_jax.data import (
  datasets,
  images,
  prepared,
  quantise,
  schema,
  schema_file,
  source,
)
from dicm_jax.data.preparation import claim, stages
from dicm_jax.data.preparation import job as job_lib
from dicm_jax.data.preparation import manifest as manifest_lib
from dicm_jax.data.readers import (
  infer,
  pictures,
  table,
  titles,
  vectors,
  xdl,
  xdl_infer,
  xdl_records,
)
from dicm_jax.model import backbone

_log = logging.getLogger("dicm_jax.prepare")  # Also when run as __main__.

FORMATS = ("table", "xdl")
"""Besides those of `datasets.KNOWN`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """What the command line asks for."""

  format: str
  samples: pathlib.Path
  out: pathlib.Path
  images: pathlib.Path | None = None
  vectors: pathlib.Path | None = None
  """Precomputed features by image key, in place of pictures."""
  vectors_width: int = 0
  """Numbers of an XDL image record; 0: found."""
  titles: pathlib.Path | None = None
  """Table of titles by image key, beside pictures or in their place."""
  items: pathlib.Path | None = None
  schema: pathlib.Path | None = None
  backbone: str = ""
  """Whose features are computed now; empty: none, training does it."""
  cut: str = ""
  """Layer whose output is stored; empty: the backbone's own."""
  weights: str = ""
  dtype: str = "float32"
  """How features are stored."""
  on_bad: str = "stop"
  runner: str = "local"
  """local, or a runner of Apache Beam."""
  runner_options: tuple[str, ...] = ()
  """Of Beam and its runner."""


def prepare(options: Options) -> dict[str, Any]:
  """Makes a data set, or goes on with one that was stopped.

  Returns:
    The manifest.

  Raises:
    InputError: an option, the schema, the log or a picture is wrong.
  """
  if options.dtype not in quantise.DTYPES:
    raise errors.unknown_name("--dtype", options.dtype, quantise.DTYPES)
  _check_pairs(options)
  job = job_lib.Job(
    events=read_events(options), out=options.out, on_bad=options.on_bad
  )
  # Checked before anything is written.
  fill_images, fill_titles = _images(options, job), _titles(options, job)
  identity = _identity(options, job)
  if not claim.claim(options.out, identity):
    _log.info("%s is prepared already, and sound", options.out)
    return prepared.read_manifest(options.out)
  run = (
    _local
    if options.runner == "local"
    else beam.runner(options.runner, job.work(), options.runner_options)
  )
  stages.prepare(job, fill_images, run, fill_titles)
  if options.backbone:
    _extraction(options).run(run)
  manifest_lib.finish(job, {"identity": identity})
  manifest = prepared.read_manifest(options.out)
  _report(manifest)
  return manifest


def _check_pairs(options: Options) -> None:
  """Refuses options that do not go together, and an --out that cannot be."""
  if options.backbone and not options.images:
    raise errors.InputError("--backbone needs pictures: give --images=PATH")
  if options.cut and not options.backbone:
    raise errors.InputError("--cut is of a backbone: give --backbone=NAME")
  if options.images and options.vectors:
    raise errors.InputError(
      "expected --images or --vectors, found both: either could fill the images"
    )
  for path in (options.out, *options.out.parents):
    if path.exists() and not path.is_dir():
      raise errors.InputError(f"--out: {path} is a file; expected a folder")


def read_events(options: Options) -> source.Events:
  """The log that the options name, its files listed but not yet read."""
  known = (*FORMATS, *datasets.KNOWN)
  if options.format not in known:
    raise errors.unknown_name("--format", options.format, known)
  if not options.samples.exists():
    raise errors.InputError(f"--samples: {options.samples} does not exist")
  bad = source.Bad(options.on_bad)
  if options.format in datasets.KNOWN:
    found = datasets.KNOWN[options.format](options.samples, bad)
    if options.schema:
      found = dataclasses.replace(
        found, schema=schema_file.load(options.schema)
      )
    return dataclasses.replace(found, bad=bad)
  paths = _log_files(options.samples)
  made = (
    schema_file.load(options.schema)
    if options.schema
    else _proposed(options.format, options.samples)[0]
  )
  if made.items and not options.items:
    raise errors.InputError(
      "the schema has [items]: expected --items=FILE, the item table"
    )
  if options.items and not made.items:
    raise errors.InputError(
      "--items: the schema says nothing of it; expected a section [items]"
    )
  return source.Events(
    schema=made,
    files=paths,
    read=xdl.read if options.format == "xdl" else table.read,
    items=table.read_items(options.items, made, bad) if options.items else None,
    items_file=options.items,
    bad=bad,
  )


def _log_files(path: pathlib.Path) -> tuple[pathlib.Path, ...]:
  """The file, or all files of the folder in order of their names."""
  if not path.exists():
    raise errors.InputError(f"--samples: {path} does not exist")
  if path.is_file():
    return (path,)
  found = tuple(
    p for p in sorted(path.iterdir()) if p.is_file() and p.name[0] not in "._"
  )
  if not found:
    raise errors.InputError(f"--samples: {path} holds no files")
  return found


def _proposed(
  format_: str, samples: pathlib.Path
) -> tuple[schema.Schema, list[str]]:
  """A schema for a log that has none, and the reasons."""
  path = _log_files(samples)[0]
  if format_ == "xdl":
    return xdl_infer.infer(path), []
  made, reasons = infer.infer(path)
  for reason in reasons:
    _log.info("schema: %s", reason)
  return made, reasons


def _images(
  options: Options, job: job_lib.Job
) -> Callable[[], dict[str, Any]] | None:
  """What fills the image rows: pictures, vectors or nothing."""
  names_images = any(f.kind in ("image", "images") for f in job.schema.feature)
  if not names_images:
    for flag in ("images", "vectors", "titles"):
      if getattr(options, flag):
        raise errors.InputError(
          f"--{flag}: the schema names no pictures; expected a feature of kind "
          "image or images"
        )
    return None
  bad = source.Bad(options.on_bad)
  if options.images:
    found = pictures.open_pictures(options.images, bad)
    told = progress.Counter("pictures").part()
    return lambda: stages.store_pictures(job, found, bad, told)
  if options.vectors:
    if options.format == "xdl" and options.vectors.is_dir():
      given = xdl_records.Records(options.vectors, options.vectors_width, bad)
    else:
      given = vectors.open_vectors(options.vectors, bad)
    return lambda: stages.store_vectors(job, given, options.dtype, bad)
  if options.titles:  # The keys that the log names become image rows.
    return None
  raise errors.InputError(
    "the schema names pictures: expected --images=PATH, or --vectors=PATH "
    "with features by image key, or --titles=FILE"
  )


def _titles(
  options: Options, job: job_lib.Job
) -> Callable[[], dict[str, Any]] | None:
  """What gives the image rows their titles, if there are any."""
  if not options.titles:
    return None
  bad = source.Bad(options.on_bad)
  found = titles.read(options.titles, bad)
  return lambda: stages.store_titles(job, found, bad)


def _identity(options: Options, job: job_lib.Job) -> str:
  """Digest of all that decides the result."""
  inputs = [path for path in (options.images, options.vectors) if path]
  if options.vectors:  # Keys beside a matrix count, too.
    keys = options.vectors.with_suffix(".ids.txt")
    inputs += [keys] if keys.is_file() else []
  values = {
    "format": options.format,
    "images": bool(options.images),
    "backbone": _extraction(options).encoder.digest if options.backbone else "",
    "decoding": images.VERSION,
    "dtype": options.dtype,
    "vectors_width": options.vectors_width,
  }
  if options.titles:
    inputs, values = [*inputs, options.titles], values | {"titles": True}
  return claim.identity(job, inputs, values)


def _extraction(options: Options) -> extraction.Extraction:
  return extraction.Extraction(
    out=options.out,
    backbone=options.backbone,
    cut=options.cut,
    weights=options.weights,
    dtype=options.dtype,
  )


def _local(task: Callable[[int], Any], count: int, stage: str) -> None:
  """Runs the tasks here, one after the other."""
  for number in range(count):
    task(number)
    _log.info("%s: %d of %d", stage, number + 1, count)


def _report(manifest: dict[str, Any]) -> None:
  for name, counts in manifest["splits"].items():
    _log.info(
      "%s: %d samples in %d groups, %d clicks",
      name,
      counts["samples"],
      counts["groups"],
      counts["clicks"],
    )
  for what, count in manifest["left_out"].items():
    if count:
      _log.info("left out: %s %d", what, count)
  if "titles" in manifest:
    _log.info(
      "titles: %d; %d images have none, and count as empty texts",
      manifest["titles"]["given"],
      manifest["titles"]["missing"],
    )
  if manifest["bad"]["count"]:
    _log.warning(
      "%d entries were wrong and skipped; the manifest lists them",
      manifest["bad"]["count"],
    )


def main(argv: list[str]) -> None:
  del argv
  values = flags.FLAGS
  try:
    command.start(values)
    if values.infer:
      found, _ = _proposed(values.format, pathlib.Path(values.samples))
      print(schema_file.to_toml(found), end="")
      return
    if not values.out:
      raise errors.InputError("expected --out=DIR, a new folder")
    if values.queries:
      _embed_queries(values)
      return
    if values.encoder and not values.samples:
      embed_items.embed(
        pathlib.Path(values.encoder), values.data, pathlib.Path(values.out)
      )
      return
    prepare(_options(values))
  except errors.InputError as e:
    command.fail(e)


def _embed_queries(values: flags.FlagValues) -> None:
  if not values.encoder or values.samples or values.data:
    raise errors.InputError(
      "--queries: expected --encoder=RUN, a run with queries as anchors, and "
      "neither --samples nor --data"
    )
  embed_queries.embed(
    *map(pathlib.Path, (values.encoder, values.queries, values.out))
  )


def _options(values: flags.FlagValues) -> Options:
  """The flags as options, paths as paths."""

  def path(text: str) -> pathlib.Path | None:
    return pathlib.Path(text) if text else None

  if not values.samples:
    raise errors.InputError("expected --samples=PATH, the log")
  if values.encoder and values.backbone:
    raise errors.InputError(
      "expected --backbone or --encoder, found both: either could encode"
    )
  return Options(
    format=values.format,
    samples=pathlib.Path(values.samples),
    out=pathlib.Path(values.out),
    images=path(values.images),
    vectors=path(values.vectors),
    vectors_width=values.vectors_width,
    titles=path(values.titles),
    items=path(values.items),
    schema=path(values.schema),
    backbone=backbone.TRAINED if values.encoder else values.backbone,
    cut=values.cut,
    weights=values.encoder or values.weights,
    dtype=values.dtype,
    on_bad=values.on_bad,
    runner=values.runner,
    runner_options=tuple(shlex.split(values.runner_options)),
  )


def run() -> None:
  """Runs the command."""
  text = flags.DEFINE_string
  text(
    "format", "table", f"Of the log: {', '.join([*FORMATS, *datasets.KNOWN])}."
  )
  text("samples", "", "The log: a file, or a folder of files.")
  text("out", "", "Folder of the data set: new, or one that was begun.")
  text("images", "", "Pictures: a folder, tar or Parquet files.")
  text("vectors", "", "In place of pictures: features by image key.")
  text("titles", "", "Table of titles: columns key (of the image) and title.")
  text("items", "", "Table of items, where the schema has [items].")
  text("schema", "", "Schema file; empty: inferred from the log.")
  text(
    "backbone", "", "Encode the pictures now: squeezenet, vgg16, inception_v3."
  )
  text("encoder", "", "In place of --backbone: a run of configs/pairwise.py.")
  text("queries", "", "With --encoder: embed these, .txt or a column query.")
  text("data", "", "With --encoder and no --samples: a prepared data set.")
  text("cut", "", "Its last layer, as in --config.image.cut.")
  text("weights", "", "Of the backbone, as in --config.image.weights.")
  text("dtype", "float32", "Stored features: float32, float16 or int8.")
  text("on_bad", "stop", "Wrong lines and pictures: stop, or skip and list.")
  text("runner", "local", "local, or a runner of Apache Beam.")
  text("runner_options", "", "Beam's, e.g. '--flink_master=HOST:PORT'.")
  flags.DEFINE_integer(
    "vectors_width", 0, "Numbers of an XDL image record; 0: found.", 0
  )
  flags.DEFINE_bool("infer", False, "Print a schema for the log, do no more.")
  command.define_devices()
  app.run(main, flags_parser=command.parse_flags)


if __name__ == "__main__":
  # Beam's workers look tasks up by their module's name, which is not __main__.
  from dicm_jax import prepare as this

  this.run()
