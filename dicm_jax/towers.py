"""The vectors of a pre-rank model, to rank ads by inner products.

python -m dicm_jax.export --workdir=runs/a --out=vectors --towers [--mesh=2x4]

Writes a new folder, all of it or nothing:

  ads.parquet: a row for each distinct ad of the test split. `ids.F`: row of
    feature F's id, or a list of rows, with `weights.F` where it has weights;
    `dense`: its numbers; `image`: the picture's name, null without one;
    `vector`: the ad tower's.
  users.parquet: a row for each page view of the test split, in its order.
    `user`; `time` in milliseconds since 1970, null if unknown; `vector`: the
    user tower's.
  export.json: what the vectors are of, and each file's SHA-256.

The logit of a click is the inner product of the two vectors. The ad tower reads
what is of the impression as well (position, hour), so ads that differ in that
alone are several rows.
Source: "Image Matters", https://arxiv.org/abs/1711.06505, section 4.4.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
import pyarrow as pa

from dicm_jax import (
  any_config,
  config_tree,
  errors,
  evaluate,
  out_folder,
  restore,
)
from dicm_jax import config as config_lib
from dicm_jax.data import ads, click_log, files
from dicm_jax.model import nets, prerank
from dicm_jax.model.inputs import Inputs

ADS, USERS, ABOUT = "ads.parquet", "users.parquet", "export.json"


def export_run(
  workdir: pathlib.Path, out: pathlib.Path, mesh: str = ""
) -> dict[str, Any]:
  """Writes the vectors that a run's newest checkpoint gives the test split.

  Args:
    workdir: the run's folder.
    out: an empty folder, or none yet.
    mesh: "WxS", worker x server devices; "" takes the run's own.

  Returns:
    What export.json says.

  Raises:
    InputError: as `restore.restore`; the model has no towers; or the folder
      holds files or cannot be written.
  """
  # What can be wrong is told before the restoring takes minutes.
  given = restore.read_config(workdir, mesh)
  _check_model(any_config.clicks_only(given, f"{workdir}"))
  out_folder.check_free(out)
  config, x, state = restore.restore(workdir, mesh)
  log = x.data.test
  vectors = evaluate.predict(x, state, log, both_towers)
  tables = {
    ADS: ad_table(x.data, log, vectors[:, 0]),
    USERS: user_table(log, vectors[:, 1]),
  }
  about = {
    "config_digest": config_tree.digest(config),
    "step": int(state.step),
    "weights_notice": x.weights_notice,
    "width": vectors.shape[2],
  }
  if x.data.notice:
    about["data_notice"] = x.data.notice
  # Of several processes each has all the vectors, and one writes them.
  return _write(out, tables, about) if jax.process_index() == 0 else about


def both_towers(
  net: nets.Net,
  ids: Float[Array, "U D"],
  images: Float[Array, "V E"],
  inputs: Inputs,
) -> Float[Array, "b 2 T"]:
  """For each sample the ad's vector and its page view's."""
  assert isinstance(net, prerank.PreRank)
  of_ads, of_users = net.towers(ids, images, inputs)
  return jnp.stack([of_ads, of_users[inputs.group]], axis=1)


def ad_table(
  data: click_log.Dataset,
  log: click_log.ClickLog,
  vectors: Float[np.ndarray, "n T"],
) -> pa.Table:
  """Rows of ads.parquet, in the order of their first impressions."""
  first = ads.first_samples(log)
  columns = {f"ids.{k}": pa.array(v[first]) for k, v in log.ad_ids.items()}
  for name, lists in log.ad_lists.items():
    columns[f"ids.{name}"] = _lists(lists, lists.values, first)
    if lists.weights is not None:
      columns[f"weights.{name}"] = _lists(lists, lists.weights, first)
  if log.ad_dense is not None:
    columns["dense"] = _matrix(log.ad_dense[first])
  names = [_image_name(data, row) for row in log.ad_image[first].tolist()]
  columns["image"] = pa.array(names, pa.string())
  columns["vector"] = _matrix(vectors[first])
  return pa.table(columns)


def user_table(
  log: click_log.ClickLog, vectors: Float[np.ndarray, "n T"]
) -> pa.Table:
  """Rows of users.parquet, in the order of the page views."""
  first = np.searchsorted(log.group, np.arange(log.num_groups))
  time = pa.nulls(log.num_groups) if log.time is None else pa.array(log.time)
  return pa.table(
    {
      "user": pa.array(log.user),
      "time": time.cast(pa.int64()),
      "vector": _matrix(vectors[first]),
    }
  )


def _image_name(data: click_log.Dataset, row: int) -> str | None:
  if row == data.no_image or not data.image_names:
    return None
  return data.image_names[row]


def _lists(
  lists: click_log.Jagged, numbers: np.ndarray, keep: Int[np.ndarray, " A"]
) -> pa.Array:
  whole = pa.LargeListArray.from_arrays(
    pa.array(lists.offsets, pa.int64()), pa.array(numbers)
  )
  return whole.take(pa.array(keep))


def _matrix(rows: Float[np.ndarray, "A K"]) -> pa.Array:
  flat = pa.array(np.ascontiguousarray(rows, np.float32).reshape(-1))
  return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


def _check_model(config: config_lib.Config) -> None:
  if config.model.name != "prerank":
    raise errors.InputError(
      "expected model.name='prerank', whose ads and users have vectors of "
      f"their own; found {config.model.name!r}"
    )


def _write(
  out: pathlib.Path, tables: dict[str, pa.Table], about: dict[str, Any]
) -> dict[str, Any]:
  """Fills a folder beside `out`, then gives it that name."""
  with out_folder.filling(out) as folder:
    for name, table in tables.items():
      files.write_parquet(folder / name, table)
    about = about | {
      "files": {
        name: {"rows": table.num_rows, "sha256": files.digest(folder / name)}
        for name, table in tables.items()
      }
    }
    files.write_json(folder / ABOUT, about)
  return about
