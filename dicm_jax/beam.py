"""Runs the tasks of a preparation on Apache Beam's workers.

Tasks hand their results on through files, so every worker must see the output
folder and the inputs under the same path: a shared file system on a cluster.
"""

from collections.abc import Callable, Sequence
import functools
import pathlib
from typing import Any

from dicm_jax import errors

FAILED = "failed"


def runner(
  name: str, work: pathlib.Path, options: Sequence[str] = ()
) -> Callable[[Callable[[int], Any], int, str], None]:
  """Returns a function that runs task(0), ..., task(count - 1) on Beam.

  Args:
    name: DirectRunner, FlinkRunner, SparkRunner, DataflowRunner, ...
    work: folder that all workers see, for messages of failed tasks.
    options: Beam's and the runner's own, e.g. `--flink_master=HOST:PORT`.

  Raises:
    InputError: Beam is not installed.
  """
  try:
    import apache_beam as beam
    from apache_beam.options import pipeline_options
  except ImportError as e:
    raise errors.InputError(
      f"--runner={name} needs Apache Beam: pip install 'dicm_jax[beam]'"
    ) from e

  def run(task: Callable[[int], Any], count: int, stage: str) -> None:
    failed = work / FAILED
    for old in failed.glob(f"{stage}-*"):
      old.unlink()
    guarded = functools.partial(_guarded, task, failed, stage)
    asked = pipeline_options.PipelineOptions(list(options))
    with beam.Pipeline(runner=name, options=asked) as pipeline:
      numbers = pipeline | f"{stage}: numbers" >> beam.Create(range(count))
      spread = numbers | f"{stage}: spread" >> beam.Reshuffle()
      _ = spread | stage >> beam.Map(guarded)
    for message in sorted(failed.glob(f"{stage}-*")):
      raise errors.InputError(message.read_text())

  return run


def _guarded(
  task: Callable[[int], Any], failed: pathlib.Path, stage: str, number: int
) -> None:
  """Keeps the user's mistakes out of Beam's retries and tracebacks."""
  try:
    task(number)
  except errors.InputError as e:
    failed.mkdir(parents=True, exist_ok=True)
    (failed / f"{stage}-{number:06d}").write_text(str(e))
