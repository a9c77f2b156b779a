"""From words to items: toy users' searches trained on, embedded, evaluated."""

import json
import types

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from dicm_jax import (
  contact_sheet,
  embed_items,
  embed_queries,
  errors,
  experiment,
  features,
  prepare,
  query_encoder,
  retrieve,
  shop,
)
from dicm_jax.data import text, vectors
from dicm_jax.model import encoder_file, encoders, text_cnn
from dicm_jax.sharding import mesh as mesh_lib
from tests import toy
from tests.pairwise import runs, searches


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """Folder of a run on the toy searches, and of its items' table."""
  folder = tmp_path_factory.mktemp("run")
  task = searches.build(
    train__steps=80, train__batch_size=32, dense_optimizer__learning_rate=0.01
  )
  state, _ = runs.run(task, 80)
  task.finish(state, folder)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(experiment, "load_data", lambda _: searches.dataset())
    patch.setattr(features, "cache_dir", lambda: folder / "cache")
    embed_items.embed(folder, "", folder / "items.parquet")
  return folder


@pytest.fixture(autouse=True)
def toy_shop(monkeypatch):
  """--data=sample is the toy searches, on two devices."""
  make, devices = mesh_lib.make_mesh, jax.devices()[:2]
  monkeypatch.setattr(
    mesh_lib, "make_mesh", lambda w, s: make(w, s, devices=devices)
  )
  made = types.SimpleNamespace(dataset=searches.dataset())
  monkeypatch.setattr(shop.sample, "generate", lambda: made)


def run(trained, *args) -> None:
  values = flags.FlagValues()
  retrieve.define_flags(values)
  items = f"--vectors={trained / 'items.parquet'}"
  values(["retrieve", items, *map(str, args)])
  retrieve.run(values)


def rows(out: str) -> list[list[str]]:
  return [line.split() for line in out.splitlines()[2:]]


@pytest.mark.parametrize(("query", "channel"), [("Red", 0), ("BLUE!", 2)])
def test_items_of_the_colour_asked_for_come_first(
  trained, capsys, query, channel
):
  run(trained, f"--encoder={trained}", f"--query={query}", "--k=8")
  found = rows(capsys.readouterr().out)
  place = {name: i for i, name in enumerate(toy.dataset().image_names)}
  shown = searches.colours()[[place[row[2]] for row in found], channel]
  assert len(found) == 8
  # What is asked for is there more than the mean of all colours, which is 0.
  assert shown.mean() > 25 and (shown > 0).mean() > 0.7


def test_scores_are_inner_products_unless_asked_otherwise(trained, capsys):
  items = vectors.read(trained / "items.parquet")
  made = query_encoder.load(trained)
  asked = query_encoder.embed(made.config, made.params, ["red"])[0]
  products = items.values @ asked
  cosines = products / (
    np.linalg.norm(items.values, axis=1) * np.linalg.norm(asked)
  )
  ask = [f"--encoder={trained}", "--query=red", "--k=40"]
  for more, scores in (([], products), (["--similarity=cosine"], cosines)):
    run(trained, *ask, *more)
    found = rows(capsys.readouterr().out)
    best = np.argsort(-scores)
    assert found[0][2] == items.keys[best[0]]
    # Printed to four places.
    np.testing.assert_allclose(
      [float(row[1]) for row in found], scores[best], atol=1e-4
    )


def test_table_of_queries_asks_as_their_words_do(trained, capsys, tmp_path):
  (tmp_path / "q.txt").write_text("red\n\n  blue \nred\n")
  table = tmp_path / "queries.parquet"
  embed_queries.embed(trained, tmp_path / "q.txt", table)
  made = vectors.read(table)
  assert made.keys == ("red", "blue")
  assert made.similarity == "inner"
  run(trained, f"--queries={table}", "--k=3")
  tables = capsys.readouterr().out.strip().split("\n\n")
  for word, found in zip(made.keys, tables, strict=True):
    run(trained, f"--encoder={trained}", f"--query={word}", "--k=3")
    assert capsys.readouterr().out.strip() == found


@pytest.mark.parametrize("name", ["q.csv", "q.jsonl"])
def test_queries_are_read_from_a_column(tmp_path, name):
  lines = {
    "q.csv": 'id,query\n1,"red, long"\n2,\n3,7\n4,"red, long"\n',
    "q.jsonl": '{"query": "red, long"}\n{"query": null}\n{"query": 7}\n',
  }
  (tmp_path / name).write_text(lines[name])
  assert embed_queries.read(tmp_path / name) == ["red, long", "7"]


def test_sheet_shows_what_was_found(trained, tmp_path):
  sheet = tmp_path / "sheet.png"
  run(
    trained,
    f"--encoder={trained}",
    "--query=red",
    "--data=sample",
    f"--sheet={sheet}",
  )
  tiles = [contact_sheet.Tile(None, "")] * 10
  alone = contact_sheet.draw([contact_sheet.Section("", tiles)])
  with Image.open(sheet) as drawn:
    assert drawn.size == alone.size


def test_evaluation_asks_by_the_page_views_queries(trained, capsys):
  run(trained, "--data=sample", f"--encoder={trained}", "--evaluate", "--k=8")
  out = capsys.readouterr().out
  found = json.loads(out[out.index("{") :])
  log = searches.dataset().test
  clicked = np.bincount(log.group, log.label) > 0
  assert found["page_views"] == (clicked & (log.query >= 0)).sum()
  assert (found["ask"], found["similarity"]) == ("query", "inner")
  recall = {name: of["recall"] for name, of in found["methods"].items()}
  assert recall["random"] == pytest.approx(8 / 40)
  assert recall["vectors"] > 1.3 * max(recall["random"], recall["popularity"])


def test_blocks_of_queries_are_padded_to_one_shape(monkeypatch):
  config = encoders.QueryConfig(
    width=4, text=text_cnn.TextConfig(length=3, buckets=50)
  )
  shapes = encoder_file.params_of(config, encoder_file.QUERIES)
  rng = np.random.default_rng(0)
  params = jax.tree.map(lambda s: rng.random(s.shape, np.float32), shapes)
  texts = ["a b c d", "b", "", "c c", "e"]
  whole = query_encoder.embed(config, params, texts)
  monkeypatch.setattr(query_encoder, "BLOCK", 2)
  np.testing.assert_allclose(
    query_encoder.embed(config, params, texts), whole, rtol=1e-6
  )
  assert query_encoder.embed(config, params, []).shape == (0, 4)
  tokens = jnp.asarray(text.tokens(texts, length=3, buckets=50))
  net = encoders.make_query(config, rngs=encoders.nnx.Rngs(0))
  encoders.nnx.update(net, params)
  np.testing.assert_allclose(net(tokens), whole, rtol=1e-6)


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--query=red"], "--query: expected --encoder, a run with queries as"),
    (["--encoder=RUN", "--item=0.png"], "--encoder: expected --query or --ev"),
    (["--encoder=RUN", "--query=?!"], r"one word or more, found '\?!'"),
    (["--encoder=none", "--query=a"], "found no folder none"),
    (["--encoder=RUN", "--evaluate"], "--evaluate: expected --data too"),
    (["--encoder=RUN", "--query=a", "--evaluate"], "--query and --evaluate"),
    (["--encoder=RUN", "--query=a", "--exclude_seen"], "--user or --evaluate"),
  ],
)
def test_mistakes_are_named(trained, args, message):
  with pytest.raises(errors.InputError, match=message):
    run(trained, *(arg.replace("RUN", str(trained)) for arg in args))


def test_items_of_another_encoder_are_refused(trained, tmp_path):
  other = vectors.Vectors(
    keys=("a",), values=np.ones((1, 6), np.float32), encoder="net", digest="0f"
  )
  vectors.write(tmp_path / "items.parquet", other)
  with pytest.raises(errors.InputError, match=r"found those of net \(0f\)"):
    run(tmp_path, f"--encoder={trained}", "--query=red", "--k=1")


def test_data_without_queries_and_runs_without_their_encoder_are_refused(
  trained, monkeypatch, tmp_path
):
  plain = types.SimpleNamespace(dataset=toy.dataset())
  monkeypatch.setattr(shop.sample, "generate", lambda: plain)
  with pytest.raises(errors.InputError, match=r"\[log\] query = \"COLUMN\""):
    run(trained, "--data=sample", f"--encoder={trained}", "--evaluate")
  with pytest.raises(errors.InputError, match=r"pairs\.anchor=query leaves"):
    query_encoder.load(tmp_path)


def test_queries_need_an_encoder_and_nothing_else(tmp_path):
  (tmp_path / "q.txt").write_text("\n")
  with pytest.raises(errors.InputError, match="expected queries, found none"):
    embed_queries.read(tmp_path / "q.txt")
  values = flags.FlagValues()
  for name in ("encoder", "samples", "data", "queries"):
    flags.DEFINE_string(name, "", "", flag_values=values)
  values(["prepare", "--queries=q.txt"])
  with pytest.raises(errors.InputError, match="--queries: expected --encoder"):
    prepare._embed_queries(values)
