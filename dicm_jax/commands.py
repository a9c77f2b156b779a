"""The commands by their short names."""

from typing import NamedTuple


class Command(NamedTuple):
  """One of the package's commands."""

  module: str
  does: str
  """In a few words."""


COMMANDS = {
  "prepare": Command(
    "dicm_jax.prepare", "a click log and its pictures as a data set"
  ),
  "plan": Command("dicm_jax.plan", "what a run will need on many devices"),
  "train": Command("dicm_jax.main", "train and evaluate a config"),
  "evaluate": Command(
    "dicm_jax.evaluate", "figures of a run, or of one against another"
  ),
  "report": Command("dicm_jax.report", "a page about a run, or about several"),
  "export": Command("dicm_jax.export", "a run as a bundle that scores alone"),
  "serve": Command("dicm_jax.serve", "a server of a bundle's scores"),
  "explain": Command("dicm_jax.explain", "what drove a score of a bundle"),
  "explore-data": Command(
    "dicm_jax.explore_data", "page views for the explorer of a bundle"
  ),
  "retrieve": Command("dicm_jax.retrieve", "items that look alike"),
  "index": Command("dicm_jax.ad_index", "ads, to be matched to users"),
  "funnel": Command(
    "dicm_jax.funnel", "what match, pre-rank and rank lose of the best ads"
  ),
}
