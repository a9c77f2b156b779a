"""What optax offers as an optimiser is one, and nothing else is called."""

import optax
import pytest

from dicm_jax import errors
from dicm_jax.optimizers import from_optax

KEY = "dense_optimizer.name"
SCHEDULE = optax.exponential_decay(0.1, 10, 0.9)


@pytest.mark.parametrize("name", ["adam", "adamw", "lion", "lamb", "adafactor"])
@pytest.mark.parametrize("rate", [0.1, SCHEDULE], ids=["rate", "schedule"])
def test_optimisers_run_on_a_rate_or_a_schedule(name, rate):
  assert from_optax.make(KEY, name, rate).init is not None


@pytest.mark.parametrize(
  "name",
  [
    "adaptive_grad_clip",
    "huber_loss",
    "scale_by_adam",
    "exponential_decay",
    "contrib",
    "contrib.muon",
    "GradientTransformation",
    "__builtins__",
    "",
  ],
)
def test_what_is_no_optimiser_is_an_unknown_name(name):
  message = f"^unknown {KEY} {name!r}.*known: adabelief, .*, adam, .*yogi"
  with pytest.raises(errors.InputError, match=message):
    from_optax.make(KEY, name, 0.1)


def test_unknown_name_gives_the_nearest():
  with pytest.raises(errors.InputError, match="did you mean 'rmsprop'"):
    from_optax.make(KEY, "rsmprop", 0.1)


def test_what_is_no_optimiser_is_not_called(monkeypatch):
  def explode(predictions, targets=None, delta=1.0):
    raise AssertionError("called")

  monkeypatch.setattr(optax, "huber_loss", explode)
  with pytest.raises(errors.InputError, match="unknown"):
    from_optax.make(KEY, "huber_loss", 0.1)


@pytest.mark.parametrize(
  ("name", "rate", "lacks"),
  [("lbfgs", 0.1, "value"), ("rprop", SCHEDULE, "schedule")],
)
def test_optimiser_that_needs_more_is_refused(name, rate, lacks):
  message = f"^{KEY}: expected .* found '{name}'"
  with pytest.raises(errors.InputError, match=message) as caught:
    from_optax.make(KEY, name, rate)
  assert lacks in str(caught.value)
