"""Items that look alike, to an item, a user or a query; a command.

python -m dicm_jax.retrieve --item=0001.jpg [--k=10] [--sheet=like.png]
python -m dicm_jax.retrieve --data=prepared --user=KEY [--exclude_seen]
python -m dicm_jax.retrieve --data=prepared --evaluate
python -m dicm_jax.retrieve --vectors=items.parquet --queries=queries.parquet
python -m dicm_jax.retrieve --vectors=items.parquet --encoder=runs/pairwise \
  --query="long red dress" [--data=sample --evaluate in place of --query]
python -m dicm_jax.retrieve --index=usearch --out=index

--vectors is a table (see `data.vectors`) or a folder features/ENCODER; without
it the vectors are those of --data, and without both the SqueezeNet features of
the built-in sample, which --data=sample names too. --item, --user, --query and
--queries print neighbours with their scores; --sheet draws their pictures, what
was asked for first. --encoder is a run with queries as anchors, whose encoder
embeds --query, or with --evaluate the queries of --data. --evaluate prints
recall and hit rate, then all figures as JSON. --index answers by an approximate
index; --out writes it to a new folder, see `hnsw.write`.
"""

from collections.abc import Sequence
import logging
import pathlib
from typing import Any, NamedTuple

from absl import app, flags
import jax
import numpy as np

from dicm_jax import (
  command,
  contact_sheet,
  errors,
  hnsw,
  out_folder,
  recall,
  retrieval,
  search_page,
  shop,
)
from dicm_jax.data import click_log, vectors
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import top_k

_log = logging.getLogger("dicm_jax.retrieve")  # Also when run as __main__.

_ASKS = ("item", "user", "query", "queries", "evaluate")
_PAST_SHOWN = 2 * contact_sheet.COLUMNS
"""Of a user's past items, the latest so many stand on a sheet."""


class Answer(NamedTuple):
  """What was found for one query."""

  name: str
  past: Sequence[str]
  """Keys of the items that asked; none: a vector did."""
  neighbours: list[dict[str, Any]]


def answer(
  of: shop.Shop,
  catalogue: retrieval.Catalogue,
  asked: vectors.Vectors | None,
  values: flags.FlagValues,
) -> list[Answer]:
  """What --item, --user, --query or --queries asks for.

  Raises:
    InputError: an unknown item or user, vectors of another width, or k is out
      of its range.
  """
  keys, k = catalogue.items.keys, values.k
  if asked:
    found = retrieval.like_vectors(catalogue, asked, k)
    names, past = asked.keys, [()] * len(asked.keys)
  elif values.user:
    rows = shop.past_of(of, values.user)
    lists = click_log.Jagged(rows, np.array([0, len(rows)]))
    found = retrieval.like_behaviours(
      catalogue, lists, k, exclude_seen=values.exclude_seen
    )
    names, past = [values.user], [[keys[row] for row in rows.tolist()]]
  else:
    row = retrieval.row_of(catalogue.items, values.item, "--item")
    found = retrieval.like_items(catalogue, np.array([row]), k)
    names, past = [values.item], [[values.item]]
  near = retrieval.neighbours(catalogue, found)
  return [Answer(*parts) for parts in zip(names, past, near, strict=True)]


def text_of(found: Answer) -> str:
  """A table: rank, score and key of each neighbour."""
  lines = [f"like {found.name}", f"{'rank':>4}  {'score':>8}  key"]
  for near in found.neighbours:
    lines.append(f"{near['rank']:4}  {near['score']:8.4f}  {near['key']}")
  return "\n".join(lines)


def sections_of(of: shop.Shop, found: Answer) -> list[contact_sheet.Section]:
  """The sheet of an answer: what asked, the latest first, and neighbours."""

  def tile(key: str, note: str = "") -> contact_sheet.Tile:
    return contact_sheet.Tile(shop.picture_of(of, key), key, note)

  near = [tile(n["key"], f"{n['score']:.3f}") for n in found.neighbours]
  if not found.past:
    return [contact_sheet.Section(f"most alike to {found.name!r}", near)]
  past = list(found.past)[::-1][:_PAST_SHOWN]
  title = "query" if len(found.past) == 1 else f"past items of {found.name}"
  return [
    contact_sheet.Section(title, [tile(key) for key in past]),
    contact_sheet.Section("most alike", near),
  ]


def figures_text(found: dict[str, Any]) -> str:
  """A table: recall and hit rate of each method with their intervals."""
  k = found["k"]
  lines = [
    f"{found['page_views']} page views of {found['users']} users, "
    f"{found['items']} items",
    f"{'':12}{f'recall@{k}':>12}{'95 %':>18}{f'hit rate@{k}':>14}{'95 %':>18}",
  ]
  for name, of in found["methods"].items():
    cells = f"{name:12}"
    for what, width in (("recall", 12), ("hit_rate", 14)):
      low, high = of[f"{what}_low"], of[f"{what}_high"]
      cells += f"{of[what]:{width}.4f}{f'[{low:.4f}, {high:.4f}]':>18}"
    lines.append(cells)
  return "\n".join(lines)


def _check(values: flags.FlagValues) -> None:
  """Raises InputError where flags do not go together."""
  asked = [name for name in _ASKS if getattr(values, name)]
  if len(asked) > 1 or not (asked or values.out):
    found = " and ".join(f"--{name}" for name in asked) or "none"
    raise errors.InputError(
      f"expected one of {', '.join(f'--{name}' for name in _ASKS)}, or --index "
      f"and --out; found {found}"
    )
  needs = {
    "sheet": (
      asked in (["item"], ["user"], ["query"]),
      "--item or --user or --query",
    ),
    "exclude_seen": (asked in (["user"], ["evaluate"]), "--user or --evaluate"),
    "out": (bool(values.index), "--index"),
    "query": (
      bool(values.encoder),
      "--encoder, a run with queries as anchors,",
    ),
    "encoder": (asked in (["query"], ["evaluate"]), "--query or --evaluate"),
  }
  for name, (there, expected) in needs.items():
    if getattr(values, name) and not there:
      raise errors.InputError(f"--{name}: expected {expected} too")
  if values.out:
    out_folder.check_free(pathlib.Path(values.out))
  if values.similarity:
    top_k.check_similarity(values.similarity)


def _similarity(asked: vectors.Vectors | None, values: flags.FlagValues) -> str:
  """--similarity, or what the queries' encoder was trained by, or cosine."""
  if values.similarity:
    return values.similarity
  if asked and asked.similarity:
    _log.info("similarity: %s, as for the queries' encoder", asked.similarity)
    return asked.similarity
  return "cosine"


def _catalogue(
  items: vectors.Vectors, similarity: str, values: flags.FlagValues
) -> retrieval.Catalogue:
  """Items to search as --index says; writes --out."""
  if not values.index:
    mesh = mesh_lib.make_mesh(1, -1)
    return retrieval.exact(items, mesh, similarity)
  built = hnsw.build(values.index, items.values, similarity)
  if values.out and jax.process_index() == 0:
    hnsw.write(pathlib.Path(values.out), built, items)
  return retrieval.approximate(items, built)


def run(values: flags.FlagValues) -> None:
  """Does what the flags ask for, see `define_flags`.

  Raises:
    InputError: flags do not go together, or what they name cannot be used.
  """
  _check(values)
  of = shop.load(values.vectors, values.data)
  if values.sheet:
    shop.data_of(of, "--sheet")
  if values.evaluate:
    shop.data_of(of, "--evaluate")
  asked = search_page.asked(
    of, table=values.queries, encoder=values.encoder, query=values.query
  )
  catalogue = _catalogue(of.items, _similarity(asked, values), values)
  if values.evaluate:
    data = shop.data_of(of, "--evaluate")
    found = recall.evaluate(
      catalogue,
      data,
      values.k,
      exclude_seen=values.exclude_seen,
      queries=asked.values if asked else None,
    )
    _print(figures_text(found))
    command.show(found)
  elif any(getattr(values, name) for name in _ASKS):
    found = answer(of, catalogue, asked, values)
    _print("\n\n".join(map(text_of, found)))
    if values.sheet and jax.process_index() == 0:
      sheet = contact_sheet.draw(sections_of(of, found[0]))
      contact_sheet.save(sheet, pathlib.Path(values.sheet))


def _print(text: str) -> None:
  if jax.process_index() == 0:
    print(text)


def main(argv: list[str]) -> None:
  del argv
  try:
    command.start(flags.FLAGS)
    run(flags.FLAGS)
  except errors.InputError as e:
    command.fail(e)


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines the command's flags, those of devices left out."""

  def text(name: str, default: str, help_: str) -> None:
    flags.DEFINE_string(name, default, help_, flag_values=values)

  text("vectors", "", "Items' vectors: a table, or a folder features/ENCODER.")
  text("data", "", "A prepared data set, or sample: pictures and users.")
  text("item", "", "Key of an item: find what is like it.")
  text("user", "", "Key of a user: find what is like the items of the past.")
  text("query", "", "Words: find what is like them, by --encoder.")
  text("queries", "", "A table of vectors: find what is like each.")
  text("encoder", "", "A run with pairs.anchor=query: embeds queries.")
  text(
    "similarity",
    "",
    f"{' or '.join(top_k.SIMILARITIES)} (product); empty: as the queries' "
    "encoder was trained, else cosine.",
  )
  text(
    "index", "", f"Approximate: {' or '.join(hnsw.LIBRARIES)}; empty: exact."
  )
  text("out", "", "New folder for the index.")
  text("sheet", "", "PNG file of the pictures.")
  flags.DEFINE_integer("k", 10, "Items to find.", flag_values=values)
  for name, help_ in (
    ("evaluate", "Print recall and hit rate of the test split's clicks."),
    ("exclude_seen", "Find nothing that the user clicked before."),
  ):
    flags.DEFINE_bool(name, False, help_, flag_values=values)


if __name__ == "__main__":
  define_flags()
  command.define_devices()
  app.run(main, flags_parser=command.parse_flags)
