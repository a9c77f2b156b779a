"""One GPU trains as the CPU does; skipped where there is none.

python -m pytest -q tests/gpu_test.py
"""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests import gpu_losses

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(not shutil.which("nvidia-smi"), reason="no NVIDIA GPU"),
]
CLOSE = 1e-3
ROUNDED = 3e-2
"""Of bfloat16, beside float32: a CPU rounds in other places than a GPU."""


@functools.cache
def measured() -> dict[str, Any]:
  """In a process of its own: these tests are held to simulated CPU devices."""
  done = subprocess.run(
    [sys.executable, "-m", "tests.gpu_losses"],
    env=os.environ | {"JAX_PLATFORMS": "cuda,cpu"},
    cwd=pathlib.Path(__file__).parents[1],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", gpu_losses.VARIANTS)
def test_losses_are_those_of_the_cpu(name):
  plain, rounded, _ = name.partition(" bfloat16")
  np.testing.assert_allclose(
    measured()[name]["gpu"],
    measured()[plain]["cpu"],
    rtol=ROUNDED if rounded else CLOSE,
  )


def test_the_next_batch_asked_for_ahead_changes_little():
  found = measured()
  np.testing.assert_allclose(
    found["ahead"]["gpu"], found["pixels"]["gpu"], rtol=1e-3
  )


def test_a_ragged_exchange_carries_what_it_is_told_to():
  assert measured()["ragged"]
