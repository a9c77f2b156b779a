"""MovieLens (ml-latest-small, ml-25m, ...) with posters by TMDB id."""

import pathlib

from dicm_jax.data import schema, source
from dicm_jax.data.datasets import download
from dicm_jax.data.readers import columns, table

WHERE = (
  "https://grouplens.org/datasets/movielens (ratings.csv, movies.csv, "
  "links.csv; free for research, not to be passed on)"
)
NOTICE = (
  "MovieLens: a rating of 4 stars or more counts as a click, a lower one as "
  "an impression without; each user's last tenth of the ratings is the test."
)

SCHEMA = schema.Schema(
  log=schema.Log(
    label="rating", user="userId", time="timestamp", positive_from=4.0
  ),
  items=schema.Items(
    key="movieId", fields=("movie_id", "genres", "poster_id", "poster")
  ),
  feature=(
    schema.Field(name="user_id", side="user", kind="id", column="userId"),
    schema.Field(
      name="movie_id", side="ad", kind="id", column="movieId", history=True
    ),
    schema.Field(name="genres", side="ad", kind="ids"),
    schema.Field(name="poster_id", side="ad", kind="id", column="tmdbId"),
    schema.Field(
      name="poster", side="ad", kind="image", column="tmdbId", history=True
    ),
  ),
  split=schema.Split(rule="user", test_share=0.1),
)


def events(samples: pathlib.Path, bad: source.Bad) -> source.Events:
  """Reads ratings.csv, and movies.csv with links.csv as the item table.

  Raises:
    InputError: a file is missing; or a line of an item file is wrong and `bad`
      says stop.
  """
  ratings = download.find(samples, "ratings.csv", WHERE)
  movies = download.find(samples, "movies.csv", WHERE)
  links = download.find(samples, "links.csv", WHERE)
  posters = download.raw(links, ("movieId", "tmdbId"), bad)
  joined = download.raw(movies, ("movieId", "genres"), bad).join(
    posters.drop_columns(["line"]), "movieId"
  )
  joined = joined.sort_by("line").combine_chunks()  # A join keeps no order.
  lines = joined["line"].to_numpy()
  made = columns.items(joined, lines, SCHEMA, bad, movies)
  return source.Events(
    schema=SCHEMA,
    files=(ratings,),
    read=table.read,
    items=table.without_repeats(made, movies, bad),
    items_file=movies,
    notice=NOTICE,
  )
