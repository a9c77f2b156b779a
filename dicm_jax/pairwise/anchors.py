"""What pairs are anchored to, and how anchors get into the items' space.

A last click is a picture, which the items' own network embeds. A query is text,
which a network of its own embeds, trained together with the items': the talk's
search page, Q-CNN of the query times CNN of the item.
Source: CNN embeddings for ad ranking, JD.com, stage 1 and serving.
"""

from collections.abc import Callable
import functools
import pathlib
from typing import NamedTuple, Protocol, runtime_checkable

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree, UInt8
import numpy as np

from dicm_jax import query_encoder
from dicm_jax.data import click_log, pairs, text
from dicm_jax.model import encoder_file, encoders, nets
from dicm_jax.pairwise import first_weights
from dicm_jax.pairwise.config import Config
from dicm_jax.sharding import mesh as mesh_lib


class Batch(NamedTuple):
  """Pairs of a step, a slice for each of N devices; or one device's slice."""

  pictures: UInt8[Array | np.ndarray, "*N roles b S S 3"]
  """Of the anchor, where it is one, of the clicked and of the other item."""
  tokens: Int[Array | np.ndarray, "*N b length"] | None = None
  """Of the anchor, where it is a text."""


class Embedded(NamedTuple):
  """Embeddings of a slice of pairs."""

  anchor: Float[Array, "b D"]
  clicked: Float[Array, "b D"]
  other: Float[Array, "b D"]


@runtime_checkable
class Anchors(Protocol):
  """A kind of anchor; made of a config and a data set."""

  roles: int
  """Pictures of a pair: so many of the last fields of `pairs.Pairs`."""

  def of(self, log: click_log.ClickLog) -> pairs.Anchors:
    """Anchors of a split's page views; InputError: the data have none."""
    ...

  def tokens(self, anchors: np.ndarray) -> np.ndarray | None:
    """What a batch holds of anchors [N, b] beside pictures."""
    ...

  def params(self) -> PyTree:
    """The first parameters and running averages."""
    ...

  def embed(self, params: PyTree, batch: Batch) -> tuple[Embedded, PyTree]:
    """Embeds a device's slice; also gives the new running averages."""
    ...

  def items(self, params: PyTree) -> PyTree:
    """Those of the parameters that embed items."""
    ...

  def vectors(
    self, params: PyTree, items: Float[np.ndarray, "R D"]
  ) -> Float[np.ndarray, "A D"]:
    """Embeddings of all anchors there can be; `items` are those of items."""
    ...

  def write(self, folder: pathlib.Path, params: PyTree) -> None:
    """Writes the encoders' files."""
    ...


class LastClick:
  """The user's last click, one more item."""

  roles = 3

  def __init__(self, config: Config, data: click_log.Dataset):
    del data
    self._config = config.encoder
    self._net = _item_net(config, self.roles)

  def of(self, log: click_log.ClickLog) -> pairs.Anchors:
    return pairs.last_clicks(log)

  def tokens(self, anchors: np.ndarray) -> None:
    del anchors

  def params(self) -> PyTree:
    return self._net.params()

  def embed(self, params: PyTree, batch: Batch) -> tuple[Embedded, PyTree]:
    encoder = self._net.filled(params)
    vectors = encoder(_all(batch.pictures))
    return Embedded(*jnp.split(vectors, self.roles)), nets.statistics(encoder)

  def items(self, params: PyTree) -> PyTree:
    return params

  def vectors(self, params: PyTree, items: np.ndarray) -> np.ndarray:
    del params
    return items

  def write(self, folder: pathlib.Path, params: PyTree) -> None:
    encoder_file.write(folder / encoder_file.NAME, self._config, params)


class Query:
  """What the user searched for, embedded by a network of texts.

  Its parameters are those of two networks, `items` and `queries`.
  """

  roles = 2

  def __init__(self, config: Config, data: click_log.Dataset):
    self._config = config.encoder
    self._of_queries = encoders.QueryConfig(
      width=config.encoder.width, text=config.text
    )
    self._texts = data.queries
    self._tokens = text.tokens(
      data.queries, length=config.text.length, buckets=config.text.buckets
    )
    self._items = _item_net(config, self.roles)
    # Not the items' stream: equal seeds must not give equal first weights.
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    self._queries = _Net(
      lambda: encoders.make_query(self._of_queries, rngs=nnx.Rngs(key))
    )

  def of(self, log: click_log.ClickLog) -> pairs.Anchors:
    return pairs.queries(log)

  def tokens(self, anchors: np.ndarray) -> np.ndarray:
    return self._tokens[anchors]

  def params(self) -> PyTree:
    return {"items": self._items.params(), "queries": self._queries.params()}

  def embed(self, params: PyTree, batch: Batch) -> tuple[Embedded, PyTree]:
    items = self._items.filled(params["items"])
    queries = self._queries.filled(params["queries"])
    clicked, other = jnp.split(items(_all(batch.pictures)), self.roles)
    embedded = Embedded(queries(batch.tokens), clicked, other)
    return embedded, {"items": nets.statistics(items)}

  def items(self, params: PyTree) -> PyTree:
    return params["items"]

  def vectors(self, params: PyTree, items: np.ndarray) -> np.ndarray:
    del items
    return query_encoder.embed(self._of_queries, params["queries"], self._texts)

  def write(self, folder: pathlib.Path, params: PyTree) -> None:
    encoder_file.write(
      folder / encoder_file.NAME, self._config, params["items"]
    )
    kind = encoder_file.QUERIES
    encoder_file.write(
      folder / kind.file, self._of_queries, params["queries"], kind
    )


ANCHORS: dict[str, Callable[[Config, click_log.Dataset], Anchors]] = {
  "click": LastClick,
  "query": Query,
}
"""By the name that pairs.anchor takes."""


class _Net:
  """A network's definition, and how its first parameters are made."""

  def __init__(
    self,
    make: Callable[[], nnx.Module],
    fill: Callable[[PyTree], PyTree] = lambda params: params,
  ):
    self._make = make
    self._fill = fill
    self._definition = nnx.split(nnx.eval_shape(make))[0]

  def params(self) -> PyTree:
    drawn = jax.jit(lambda: nnx.to_pure_dict(nnx.state(self._make())))()
    return self._fill(drawn)

  def filled(self, params: PyTree):
    return nnx.merge(self._definition, params)


def _item_net(config: Config, roles: int) -> _Net:
  groups = roles if config.pairs.statistics == "separate" else 1

  def make() -> nnx.Module:
    return encoders.make(
      config.encoder,
      groups=groups,
      total=mesh_lib.total,
      rngs=nnx.Rngs(config.seed),
    )

  fill = functools.partial(
    first_weights.fill, config.encoder, config.encoder_weights
  )
  return _Net(make, fill)


def _all(pictures):
  """Pictures of all roles, one after the other."""
  return pictures.reshape(-1, *pictures.shape[2:])
