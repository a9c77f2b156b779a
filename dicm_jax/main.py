"""Trains and evaluates a config.

python -m dicm_jax.main --config=configs/dicm.py --workdir=runs/dicm
"""

import logging
import pathlib

from absl import app, flags
from ml_collections import config_flags

from dicm_jax import (
  any_config,
  checkpoint,
  command,
  errors,
  loop,
  preemption,
  processes,
)

_log = logging.getLogger("dicm_jax.main")

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "File of configs/; override keys by --config.KEY=VALUE."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run.", required=True
)
_PROFILE = flags.DEFINE_bool(
  "profile", False, "Find out where the time of a step goes: profile.json."
)
command.define_devices()
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
  del argv
  try:
    command.start(flags.FLAGS)
    settings = any_config.from_dict(command.config_values(_CONFIG))
    with processes.loss_reported(), preemption.noticed() as notice:
      out = loop.train_and_evaluate(
        settings,
        pathlib.Path(_WORKDIR.value),
        profile=_PROFILE.value,
        notice=notice,
      )
  except errors.InputError as e:
    command.fail(e)
  except errors.Preempted as e:
    _log.info("told to stop (SIGTERM): %s; the same command goes on", e)
    processes.leave(0)
  except errors.LostProcessError:  # It is logged.
    processes.leave(1)
  except errors.NonFiniteError as e:
    raise SystemExit(f"dicm_jax: {e}") from e
  except errors.WriteError as e:
    come_to = checkpoint.come_to(pathlib.Path(_WORKDIR.value))
    raise SystemExit(f"dicm_jax: {e}\n{come_to}") from e
  else:
    command.show(out)


if __name__ == "__main__":
  app.run(main, flags_parser=command.parse_flags)
