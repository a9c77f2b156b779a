"""How often retrieval finds what the user clicks next.

For each page view of the test split the user's history, as the data set holds
it, or the page view's query asks for k of all items. Recall@k is the share of
the page view's clicked items that are among them, the mean over page views:
Manning, Raghavan and Schütze, Introduction to Information Retrieval (2008),
section 8.3, of lists of k. Hit rate@k is the share of page views where at least
one is among them:
Deshpande and Karypis, "Item-Based Top-N Recommendation Algorithms" (TOIS 2004),
https://doi.org/10.1145/963770.963776, where each user has one item to find.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Float, Int
import numpy as np

from dicm_jax import bootstrap, retrieval
from dicm_jax.data import click_log
from dicm_jax.data import held_out as held_out_lib
from dicm_jax.sharding import top_k

_BLOCK = 512
"""Page views at a time: bounds the memory of what is pooled from histories."""


class Scores(NamedTuple):
  """Of each page view."""

  recall: Float[np.ndarray, " P"]
  hit_rate: Float[np.ndarray, " P"]


Recommend = Callable[[held_out_lib.HeldOut], top_k.Found]
"""Page views -> k rows of the catalogue for each."""


def evaluate(
  catalogue: retrieval.Catalogue,
  data: click_log.Dataset,
  k: int,
  *,
  exclude_seen: bool = False,
  queries: Float[np.ndarray, "Q D"] | None = None,
) -> dict[str, Any]:
  """Recall and hit rate at k, beside popularity and chance.

  Args:
    catalogue: the items; its keys are names of the data set's images.
    data: the data set.
    k: items for each page view, from 1 to the number of items.
    exclude_seen: whether items of the history are not found again; clicks on
      them do not count then.
    queries: vectors of the data set's queries, by which page views then ask in
      place of their histories.

  Returns:
    k, items, page_views and page_views_left_out, users, ask (history or query),
    exclude_seen, encoder, similarity, index, and `methods`: for `vectors`,
    `popularity` (the items most clicked in training) and `random` (what k items
    by chance would find, on average) an object of recall and hit_rate with 95 %
    bootstrap intervals over users, NAME_low and NAME_high.

  Raises:
    InputError: k is out of range, or no page view of the test split has a
      click and a history, or a query.
  """
  count, width = catalogue.items.values.shape
  top_k.check(catalogue.items.values, k, count=count, width=width)
  keys = catalogue.items.keys
  ask = "history" if queries is None else "query"
  held = held_out_lib.hold_out(data, keys, new_only=exclude_seen, ask=ask)
  ranking = held_out_lib.by_popularity(data, keys)

  def by_history(held: held_out_lib.HeldOut) -> top_k.Found:
    return retrieval.like_behaviours(
      catalogue, held.past, k, exclude_seen=exclude_seen
    )

  def by_query(held: held_out_lib.HeldOut) -> top_k.Found:
    assert queries is not None and held.query is not None
    seen = retrieval.padded(held.past) if exclude_seen else None
    return catalogue.search(queries[held.query], k, excluded=seen)

  def popular(held: held_out_lib.HeldOut) -> top_k.Found:
    return most_popular(ranking, held.past, k, exclude_seen=exclude_seen)

  methods = {
    "vectors": score(held, by_history if queries is None else by_query),
    "popularity": score(held, popular),
    "random": by_chance(held, k, count, exclude_seen=exclude_seen),
  }
  out: dict[str, Any] = {
    "k": k,
    "items": count,
    "page_views": len(held.user),
    "page_views_left_out": held.left_out,
    "users": len(np.unique(held.user)),
    "ask": ask,
    "exclude_seen": exclude_seen,
    "encoder": catalogue.items.encoder,
    "similarity": catalogue.similarity,
    "index": catalogue.index,
    "methods": _with_intervals(methods, held.user),
  }
  return out | ({"data_notice": data.notice} if data.notice else {})


def score(held: held_out_lib.HeldOut, recommend: Recommend) -> Scores:
  """Recall and hit rate of what is recommended for each page view."""
  hits = []
  for start in range(0, len(held.user), _BLOCK):
    some = held.take(np.arange(start, min(start + _BLOCK, len(held.user))))
    hits.append(_hits(recommend(some), some.clicked))
  found = np.concatenate(hits)
  return Scores(found / held.clicked.lengths, (found > 0).astype(np.float64))


def _hits(found: top_k.Found, clicked: click_log.Jagged):
  """How many of each page view's clicked items were found."""
  owner = np.repeat(np.arange(len(found.rows)), clicked.lengths)
  hit = (found.rows[owner] == clicked.values[:, None]).any(axis=1)
  return np.bincount(owner, hit, minlength=len(found.rows))


def most_popular(
  ranking: Int[np.ndarray, " R"],
  past: click_log.Jagged,
  k: int,
  *,
  exclude_seen: bool,
) -> top_k.Found:
  """The first k of a ranking for everybody, without what each has seen."""
  seen = retrieval.padded(past)
  asked = ranking[: k + seen.shape[1]]
  found = top_k.Found(
    np.tile(asked, (len(seen), 1)),
    np.tile(-np.arange(len(asked), dtype=np.float64), (len(seen), 1)),
  )
  return top_k.without(found, seen if exclude_seen else seen[:, :0], k)


def by_chance(
  held: held_out_lib.HeldOut, k: int, count: int, *, exclude_seen: bool
) -> Scores:
  """Expected recall and hit rate of k distinct items drawn at random.

  Of n items that may be drawn, c of them clicked: recall k / n, and a hit with
  probability 1 - C(n - c, k) / C(n, k).
  """
  n = np.full(len(held.user), count)
  if exclude_seen:
    n -= [len(set(row) - {-1}) for row in retrieval.padded(held.past).tolist()]
  clicked = held.clicked.lengths
  missed = np.ones(len(n))
  for i in range(clicked.max()):
    # The (i + 1)th clicked item is among the n - i places left, k of them ours.
    each = np.maximum(n - k - i, 0) / np.maximum(n - i, 1)
    missed *= np.where(i < clicked, each, 1)
  return Scores(np.minimum(k / n, 1), 1 - missed)


def _with_intervals(
  methods: dict[str, Scores], user: Int[np.ndarray, " P"]
) -> dict[str, dict[str, float | None]]:
  """Means over page views and their intervals over users."""
  of_users, num_users = {}, len(np.unique(user))
  for name, scores in methods.items():
    for what, values in scores._asdict().items():
      of_users[f"{name}.{what}"] = bootstrap.mean(values, user)
  drawn = bootstrap.resample(of_users, num_users)
  out: dict[str, dict[str, float | None]] = {name: {} for name in methods}
  for name, scores in methods.items():
    for what, values in scores._asdict().items():
      low, high = bootstrap.interval(drawn[f"{name}.{what}"])
      mean = float(np.mean(values))
      out[name] |= {what: mean, f"{what}_low": low, f"{what}_high": high}
  return out
