"""Where does the time of a training step go?

python -m benchmarks.step_profile [--config=configs/quickstart.py] \
  [--config.image.mode=pixels] [--cpu_devices=8]

Trains the config for some steps, as `dicm_jax.main --profile` does, without the
evaluation, and prints the same table. The last line's value is the largest
part's share of the wall clock.
"""

import pathlib
import tempfile

from absl import app, flags
import jax
from ml_collections import config_flags

from benchmarks import report
from dicm_jax import click_task, command, errors
from dicm_jax import config as config_lib
from dicm_jax.profiling import parts, recorder, summary

QUICKSTART = pathlib.Path(__file__).parents[1] / "configs" / "quickstart.py"


def profile(config: config_lib.Config) -> summary.Summary:
  """Trains for as long as the profile takes."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    task = click_task.make(config, folder)
    recorded = recorder.Recorder(task, folder)
    state, before = task.state, None
    for batch in recorded.batches(0, recorder.WARM + recorder.STEPS):
      state, loss = recorded.step(state, batch)
      jax.block_until_ready(before)  # As the loop does.
      before = loss
    return recorded.summary()


def main(argv: list[str]) -> None:
  del argv
  try:
    command.start(flags.FLAGS)
    values = command.config_values(flags.FLAGS["config"])
    found = profile(config_lib.from_dict(values))
  except errors.InputError as e:
    command.fail(e)
  print("\n".join(found.lines()))
  share, part = max((found.shares.get(p, 0.0), p) for p in parts.PARTS)
  report.emit(
    value=share,
    unit=f"share of the largest part of a step, {part}",
    goal=None,
    details=found.as_json(),
  )


if __name__ == "__main__":
  command.define_devices()
  config_flags.DEFINE_config_file(
    "config", str(QUICKSTART), "File of configs/; --config.KEY=VALUE."
  )
  app.run(main, flags_parser=command.parse_flags)
