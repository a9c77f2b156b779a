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
CLOSE = {name: 3e-2 if "bf" in name else 1e-3 for name in gpu_losses.VARIANTS}


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
  found = measured()[name]
  np.testing.assert_allclose(found["gpu"], found["cpu"], rtol=CLOSE[name])


def test_the_next_batch_asked_for_ahead_changes_little():
  found = measured()
  np.testing.assert_allclose(
    found["ahead"]["gpu"], found["pixels"]["gpu"], rtol=1e-3
  )


def test_a_ragged_exchange_carries_what_it_is_told_to():
  assert measured()["ragged"]
