"""Which errors mean that another process is gone."""

import jax
import pytest

from dicm_jax import errors, processes

GONE = "UNKNOWN: Gloo all-reduce failed: Connection reset by peer\nand more"


def fail(monkeypatch, text: str, count: int) -> None:
  monkeypatch.setattr(jax, "process_count", lambda: count)
  with processes.loss_reported():
    raise jax.errors.JaxRuntimeError(text)


def test_broken_exchange_is_a_lost_process(monkeypatch, caplog):
  with pytest.raises(errors.LostProcessError, match="another process has end"):
    fail(monkeypatch, GONE, 2)
  assert caplog.messages[0].endswith("failed: Connection reset by peer)")


@pytest.mark.parametrize(
  "text, count", [(GONE, 1), ("RESOURCE_EXHAUSTED: Out of memory", 2)]
)
def test_other_errors_are_left_as_they_are(monkeypatch, text, count):
  with pytest.raises(jax.errors.JaxRuntimeError):
    fail(monkeypatch, text, count)
