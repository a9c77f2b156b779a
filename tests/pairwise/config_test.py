"""What a pairwise config refuses, and how configs are told apart."""

import pytest

from dicm_jax import any_config, errors
from dicm_jax import config as config_lib
from dicm_jax.pairwise import config as pairwise_config
from tests import toy
from tests.pairwise import runs


@pytest.mark.parametrize(
  ("key", "value", "says"),
  [
    ("task", "pairwsie", "unknown task 'pairwsie'; did you mean 'pairwise'?"),
    ("pairs__anchor", "clicks", "did you mean 'click'?"),
    ("text__length", 0, "text.length: expected >= 1, found 0"),
    ("pairs__loss", "square", "unknown pairs.loss 'square'"),
    ("pairs__statistics", "join", "did you mean 'joint'?"),
    ("pairs__shift", -1, "pairs.shift: expected >= 0, found -1"),
    ("encoder__name", "inception", "unknown encoder.name 'inception'"),
    ("encoder__last", "mean", "unknown encoder.last 'mean'"),
    ("encoder__width", 0, "encoder.width: expected >= 1, found 0"),
    ("train__steps", 0, "train.steps: expected >= 1, found 0"),
    ("seed", -1, "seed: expected >= 0, found -1"),
    ("dense_optimizer__learning_rate", 0.0, "learning_rate must be > 0"),
  ],
)
def test_wrong_values_are_refused(key, value, says):
  with pytest.raises(errors.InputError) as caught:
    runs.values(**{key: value})
  assert says in str(caught.value)


def test_task_tells_the_kinds_apart():
  clicks, pairs = toy.values(), runs.values()
  assert isinstance(clicks, config_lib.Config)
  assert isinstance(pairs, pairwise_config.Config)
  assert any_config.clicks_only(clicks, "here") is clicks
  with pytest.raises(errors.InputError, match="here: expected a run on clicks"):
    any_config.clicks_only(pairs, "here")
