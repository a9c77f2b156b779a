"""The command says what it cannot plan, and plans the rest at once."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
STEP = (
  "--page_views=8192",
  "--behaviours=267000",
  "--user_ids=500000",
  "--ad_fields=15",
  "--user_fields=12",
  "--distinct_ids=1400000",
  "--distinct_images=320000",
  "--id_rows=2000000000",
  "--images=120000000",
  "--config.train.batch_size=65536",
)


def call(*arguments: str) -> subprocess.CompletedProcess:
  command = [sys.executable, "-m", "dicm_jax.plan", "--config=configs/dicm.py"]
  return subprocess.run(
    [*command, *arguments], cwd=ROOT, capture_output=True, text=True
  )


@pytest.mark.slow
def test_too_large_a_table_brings_the_devices_that_would_hold_it():
  found = call(*STEP, "--devices=16", "--memory_gb=80")
  assert found.returncode == 0, found.stderr
  assert (
    "does not fit on these devices; with 32 devices it would" in found.stdout
  )
  assert "in the hosts' memory: 1966.1 GB" in found.stdout
  assert "in the memory of one host: 192.0 GB" in found.stdout


@pytest.mark.slow
def test_tables_on_the_host_make_room():
  found = call(
    *STEP,
    "--devices=16",
    "--memory_gb=80",
    "--config.image.tier=host",
    "--config.sparse_optimizer.tier=host",
  )
  assert found.returncode == 0, found.stderr
  assert "on all hosts together" in found.stdout
  assert "meanwhile, between host and device" in found.stdout
  assert "the fastest that fits" in found.stdout


@pytest.mark.slow
def test_enough_devices_bring_the_fastest_mesh_that_fits():
  found = call(*STEP, "--devices=64", "--memory_gb=80")
  assert found.returncode == 0, found.stderr
  assert (
    "advice: --config.mesh.worker=2 --config.mesh.server=32" in found.stdout
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (("--devices=6",), "mesh: 6 devices would own table rows"),
    (("--devices=0",), "--devices: expected >= 1, found 0"),
    (("--hardware=h10",), "unknown --hardware 'h10'; did you mean 'h100'?"),
    (("--page_views=3",), "--behaviours: expected >= 1"),
    (("--memory_gb=-1",), "--memory_gb: expected >= 0"),
    (("--images=-1",), "--images: expected >= 0, found -1"),
    (
      ("--devices=8", "--config.train.batch_size=100"),
      "train.batch_size: expected a positive multiple of the 8 devices",
    ),
    (
      (*STEP, "--config.image.backbone=precomputed"),
      "image.backbone='precomputed': expected --feature_width too",
    ),
  ],
)
def test_mistakes_are_one_line(arguments, message):
  found = call(*arguments)
  assert found.returncode == 2
  assert found.stdout == ""
  assert message in found.stderr
