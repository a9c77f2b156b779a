"""A trained run as a folder that scores without it: a bundle; a command.

python -m dicm_jax.export --workdir=runs/a --out=bundle [--dtype=float16]
  [--mesh=2x4]
python -m dicm_jax.export --workdir=runs/prerank --out=vectors --towers
python -m dicm_jax.export --since=bundle --out=delta --pictures=folder
python -m dicm_jax.export --since=bundle --out=delta --workdir=runs/a

The first writes a new folder, all of it or nothing: the vectors of all ids and
pictures, the network as an artifact of `jax.export` and as plain parameters,
what requests call things, and a model card; docs/serving.md has it leaf by
leaf. It scores the test split by what it wrote, and says what that costs. The
second writes the vectors of a pre-rank model's two towers, see `towers`; the
others what is new since a bundle, see `delta_export`.
"""

import dataclasses
import pathlib
from typing import Any

from absl import app, flags
import jax
from jaxtyping import Float, UInt8
import numpy as np
import pyarrow as pa
from safetensors import numpy as arrays

from dicm_jax import (
  any_config,
  command,
  config_tree,
  content,
  delta_export,
  encoder_export,
  errors,
  evaluate,
  experiment,
  fingerprint,
  image_sources,
  metrics,
  model_card,
  net_export,
  new_ids,
  out_folder,
  raw_fields,
  restore,
  row_vectors,
  seal,
  towers,
)
from dicm_jax import state as state_lib
from dicm_jax.data import files, quantise
from dicm_jax.model import backbone as backbone_lib
from dicm_jax.serving import artifact_scorer, example, net_inputs, vector_table
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import fields as fields_lib

EXAMPLES = 200
"""Page views among which the example is looked for."""
EXAMPLE_ADS, EXAMPLE_LIST = 20, 50
"""Candidates of the example, and values of its lists, at most."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Exported:
  """What of a run goes into its bundle."""

  restored: restore.Restored
  raw: raw_fields.Raw
  ids: Float[np.ndarray, "R D"]
  images: Float[np.ndarray, "I E"]
  scored: evaluate.Scored
  backbone: backbone_lib.Backbone | None
  """What sees the pictures; None: nothing of ours, or the net sees none."""
  sources: UInt8[np.ndarray, "S 32"]
  """See `Bundle.image_sources`."""

  @property
  def x(self) -> experiment.Experiment:
    return self.restored.x

  @property
  def state(self) -> state_lib.State:
    return self.restored.state

  @property
  def widths(self) -> dict[str, int]:
    return {"ids": self.ids.shape[1], "images": self.images.shape[1]}


def export_run(
  workdir: pathlib.Path,
  out: pathlib.Path,
  mesh: str = "",
  dtype: str = "float32",
) -> dict[str, Any]:
  """Writes the bundle of a run's newest checkpoint.

  Args:
    workdir: the run's folder.
    out: an empty folder, or none yet.
    mesh: "WxS", worker x server devices; "" takes the run's own.
    dtype: of the vectors, one of quantise.DTYPES.

  Returns:
    The manifest; of several processes the first's.

  Raises:
    InputError: as `restore.restore`; no such dtype; or the folder holds files
      or cannot be written.
  """
  # What can be wrong is told before the restoring takes minutes.
  given = restore.read_config(workdir, mesh)
  any_config.clicks_only(given, f"{workdir}")
  if dtype not in quantise.DTYPES:
    raise errors.unknown_name("--dtype", dtype, quantise.DTYPES)
  out_folder.check_free(out)
  made = _exported(restore.restore(workdir, mesh))
  # Of several processes each has all the vectors, and one writes them.
  if jax.process_index():
    return {}
  with out_folder.filling(out) as folder:
    return _write(folder, made, dtype)


def _exported(restored: restore.Restored) -> Exported:
  config, x, state = restored
  raw = raw_fields.of(x.data, x.layout, config.data.path, config.model.sees_ad)
  ids = row_vectors.of_ids(x, state)
  images = np.zeros((1, config.model.image_vector), np.float32)
  backbone, sources = None, np.zeros((0, 32), np.uint8)
  if raw.fields.image_rows:
    images = row_vectors.of_images(x, state)
    backbone = encoder_export.backbone_of(content.kind(config))
    sources = image_sources.of(x.data, config.data.path)
  scored = evaluate.evaluate(x, state, config)
  return Exported(
    restored=restored,
    raw=raw,
    ids=ids,
    images=images,
    scored=scored,
    backbone=backbone,
    sources=sources,
  )


def _write(folder: pathlib.Path, made: Exported, dtype: str) -> dict[str, Any]:
  _write_vectors(folder, made, dtype)
  x, state = made.x, made.state
  specs = net_inputs.specs(made.raw.fields, made.widths)
  artifact = net_export.serialised(x.program, state, specs)
  (folder / bundle_lib.NET).write_bytes(artifact)
  _write_arrays(
    folder / bundle_lib.PARAMETERS, row_vectors.named(state.dense["net"])
  )
  if made.raw.fields.image_rows:
    _write_arrays(folder / bundle_lib.LAYERS, _image_layers(state))
    if made.backbone:
      artifact = encoder_export.serialised(made.backbone)
      (folder / bundle_lib.ENCODER).write_bytes(artifact)
  about = _write_manifest(folder, _about(made, dtype, specs))
  # What was written is read back, and has to do all the rest.
  bundle = bundle_lib.read(folder)
  log = x.data.test
  found = artifact_scorer.ArtifactScorer(bundle)(log)
  about["scored"] = _scored(log.label, made.scored.probability, found)
  request = example.request_of(bundle, log, _telling(log))
  request["candidates"] = request["candidates"][:EXAMPLE_ADS]
  files.write_json(folder / bundle_lib.EXAMPLE, request)
  (folder / bundle_lib.CARD).write_text(model_card.text(about))
  return _write_manifest(folder, about)


def _write_vectors(folder: pathlib.Path, made: Exported, dtype: str) -> None:
  """A file for each feature, and one for the pictures."""
  end = 0
  for field in made.raw.fields.ids:
    begin, end = end, end + field.rows
    columns = {
      "feature": pa.DictionaryArray.from_arrays(
        np.zeros(field.rows, np.int8), [field.name]
      ),
      "row": pa.array(np.arange(field.rows)),
    }
    if field.name in made.raw.values:
      values = [None, *made.raw.values[field.name]]
      columns["value"] = pa.array(values, pa.string())
    shown = new_ids.shown_with(made.x.data.train, field)
    if shown is not None and made.raw.fields.image_rows:
      columns[new_ids.IMAGE] = pa.array(shown)
    path = folder / bundle_lib.ids_file(field.name)
    vector_table.write(path, columns, made.ids[begin:end], dtype)
  rows = made.raw.fields.image_rows
  if rows:
    keys = made.x.data.image_names
    columns = {
      "key": pa.array(keys, pa.string()),
      "row": pa.array(np.arange(rows)),
      bundle_lib.SOURCE: files.digests_column(made.sources),
    }
    about = {
      "encoder": f"{made.restored.config.image.backbone}, trained layers",
      "digest": made.x.encoder_digest,
    }
    path = folder / bundle_lib.IMAGES
    vector_table.write(path, columns, made.images, dtype, about)


def _write_arrays(path: pathlib.Path, named: dict[str, np.ndarray]) -> None:
  path.write_bytes(arrays.save(named))


def _image_layers(state: state_lib.State) -> dict[str, np.ndarray]:
  """All that turns an image's frozen features, or a title, into its vector."""
  return row_vectors.named(
    {
      "layers": state.dense["embed"],
      "standard": state.standard._asdict() if state.standard else {},
    }
  )


def _about(made: Exported, dtype: str, specs) -> dict[str, Any]:
  """The manifest, but for what comes of reading the bundle."""
  config, x = made.restored.config, made.x
  return {
    "format": bundle_lib.FORMAT,
    "dicm_jax": seal.version(),
    "jax": jax.__version__,
    "config": dataclasses.asdict(config),
    "config_digest": config_tree.digest(config),
    "step": int(made.state.step),
    "parameters": delta_export.parameters_digest(
      fingerprint.of(
        {part: getattr(made.state, part) for part in delta_export.PARTS}
      )
    ),
    "dtype": dtype,
    "widths": made.widths,
    "fields": fields_lib.to_dict(made.raw.fields),
    "inputs": {
      name: {"shape": list(spec.shape), "dtype": spec.dtype}
      for name, spec in specs.items()
    },
    "platforms": list(net_export.PLATFORMS),
    "encoder": {
      "name": config.image.backbone,
      "mode": config.image.mode,
      "digest": x.encoder_digest,
      "width": x.feature_width,
      "pictures": encoder_export.about(made.backbone),
    },
    "weights_notice": x.weights_notice,
    "data_notice": x.data.notice,
    "data_digest": x.data.digest,
    "splits": {
      name: {"samples": log.num_samples, "page_views": log.num_groups}
      for name, log in (("train", x.data.train), ("test", x.data.test))
    },
    "figures": made.scored.figures,
  }


def _scored(label, full, found) -> dict[str, float | None]:
  """What the bundle makes of the test split, beside what the run makes."""
  before, after = metrics.auc(label, full), metrics.auc(label, found)
  return {
    "auc_of_run": metrics.or_none(before),
    "auc_of_bundle": metrics.or_none(after),
    "auc_lost": metrics.or_none(before - after),
    "largest_difference": float(np.abs(found - full).max()),
  }


def _telling(log) -> int:
  """A page view with a history, but not too long a one to read."""
  lists = [log.behaviour_images, *log.user_ids.values()]
  longest = np.max([one.lengths[:EXAMPLES] for one in lists], axis=0)
  if longest.min() > EXAMPLE_LIST:
    return int(np.argmin(longest))
  return int(np.argmax(np.where(longest > EXAMPLE_LIST, -1, longest)))


def _write_manifest(
  folder: pathlib.Path, about: dict[str, Any]
) -> dict[str, Any]:
  """Lists the folder's files that are not listed yet; returns the manifest."""
  listed = dict(about.get("files", {}))  # They have not changed since.
  for path in sorted(path for path in folder.rglob("*") if path.is_file()):
    name = path.relative_to(folder).as_posix()
    if name != bundle_lib.MANIFEST and name not in listed:
      listed[name] = {
        "bytes": path.stat().st_size,
        "sha256": files.digest(path),
      }
  manifest = about | {"files": listed}
  files.write_json(folder / bundle_lib.MANIFEST, manifest)
  return manifest


def _run(values: flags.FlagValues) -> dict[str, Any]:
  """What the command prints."""
  out = pathlib.Path(values.out)
  if values.since:
    return _run_delta(values, out)
  if not values.workdir:
    raise errors.InputError("expected --workdir=RUN, the folder of the run")
  workdir = pathlib.Path(values.workdir)
  if values.towers:
    return towers.export_run(workdir, out, values.mesh)
  about = export_run(workdir, out, values.mesh, values.dtype)
  shown = ("config_digest", "step", "dtype", "scored", "files")
  return {key: about[key] for key in shown if key in about}


def _run_delta(values: flags.FlagValues, out: pathlib.Path) -> dict[str, Any]:
  def path(text: str) -> pathlib.Path | None:
    return pathlib.Path(text) if text else None

  about = delta_export.export_delta(
    pathlib.Path(values.since),
    out,
    pictures=path(values.pictures),
    workdir=path(values.workdir),
    deltas=[pathlib.Path(values.deltas)] if values.deltas else [],
    ads=path(values.new_ids),
  )
  return {key: about[key] for key in ("counts", "since", "result", "files")}


def main(argv: list[str]) -> None:
  del argv
  try:
    command.start(flags.FLAGS)
    about = _run(flags.FLAGS)
  except errors.InputError as e:
    command.fail(e)
  except errors.NonFiniteError as e:
    raise SystemExit(f"dicm_jax: {e}") from e
  else:
    command.show(about)


if __name__ == "__main__":
  flags.DEFINE_string("workdir", "", "Folder of the run.")
  flags.DEFINE_string("out", None, "New folder to write.", required=True)
  flags.DEFINE_string("mesh", "", "Worker x server devices, e.g. 2x4.")
  flags.DEFINE_string(
    "dtype", "float32", "Of the vectors: float32, float16 or int8."
  )
  flags.DEFINE_string("since", "", "Bundle: write what is new since it.")
  flags.DEFINE_string(
    "pictures", "", "With --since: pictures, some of them new."
  )
  flags.DEFINE_string(
    "new_ids", "", "With --since: table of new ads, columns image and an id."
  )
  flags.DEFINE_string("deltas", "", "With --since: folder of other deltas.")
  flags.DEFINE_bool("towers", False, "Write a pre-rank model's two towers.")
  command.define_devices()
  app.run(main, flags_parser=command.parse_flags)
