"""Beam's workers make what the local path makes, byte for byte."""

import dataclasses
import pathlib

import pytest

from dicm_jax import beam, errors
from dicm_jax.data.preparation import job as job_lib
from dicm_jax.data.preparation import learning, stages
from dicm_jax.data.preparation import manifest as manifest_lib
from tests.data import logs

pytest.importorskip("apache_beam", reason="needs the extra 'beam'")
pytestmark = pytest.mark.filterwarnings("ignore")


def run_all(made: job_lib.Job, run: stages.Run) -> dict[str, bytes]:
  def images():
    wanted = learning.wanted_pictures(made)
    return stages.store_pictures(made, logs.pictures(wanted))

  stages.prepare(made, images, run)
  manifest_lib.finish(made, {})
  return {
    p.relative_to(made.out).as_posix(): p.read_bytes()
    for p in made.out.rglob("*")
    if p.is_file()
  }


@pytest.mark.slow
def test_direct_runner_makes_the_local_data_set(tmp_path, monkeypatch):
  monkeypatch.setattr(job_lib, "PARTITION_EVENTS", 200)
  made = logs.job(tmp_path, logs.rows(users=40, events=2000))
  assert made.partitions > 3
  local = run_all(made, logs.local)
  elsewhere = dataclasses.replace(made, out=tmp_path / "beam")
  found = run_all(elsewhere, beam.runner("DirectRunner", elsewhere.work()))
  assert found == local


def fail(number: int) -> None:
  if number == 2:
    raise errors.InputError("log.csv, line 7: field 'click': found 'maybe'")


@pytest.mark.slow
def test_a_mistake_in_the_log_stays_one_clear_message(tmp_path: pathlib.Path):
  run = beam.runner("DirectRunner", tmp_path)
  with pytest.raises(errors.InputError, match=r"^log\.csv, line 7"):
    run(fail, 4, "read")
