"""Public data sets, read as their publishers lay them out.

Each reader is a function (samples, bad) -> source.Events; nothing is ever
downloaded. What became a click, and what did not, stands in `Events.notice`.
"""

from collections.abc import Callable
import pathlib

from dicm_jax.data import source
from dicm_jax.data.datasets import (
  amazon,
  criteo,
  hm,
  microlens,
  movielens,
  pixelrec,
)

KNOWN: dict[str, Callable[[pathlib.Path, source.Bad], source.Events]] = {
  "amazon": amazon.events,
  "criteo": criteo.events,
  "hm": hm.events,
  "microlens": microlens.events,
  "movielens": movielens.events,
  "pixelrec": pixelrec.events,
}
