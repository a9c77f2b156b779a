"""Configs of all tasks, told apart by their key `task`."""

from typing import Any

from dicm_jax import config as config_lib
from dicm_jax import config_tree, errors
from dicm_jax.pairwise import config as pairwise_config

AnyConfig = config_lib.Config | pairwise_config.Config
KINDS: dict[str, type[AnyConfig]] = {
  "": config_lib.Config,  # Clicks, what most configs are about.
  pairwise_config.TASK: pairwise_config.Config,
}


def from_dict(values: Any) -> AnyConfig:
  """Makes a config of nested mappings; without `task` it is one of clicks.

  Raises:
    InputError: see `config_tree.build`, or the task is unknown.
  """
  task = values.get("task", "") if isinstance(values, dict) else ""
  if not isinstance(task, str) or task not in KINDS:
    raise errors.unknown_name("task", str(task), filter(None, KINDS))
  return config_tree.build(KINDS[task], values)


def clicks_only(config: AnyConfig, what: str) -> config_lib.Config:
  """The config of a run on clicks.

  Raises:
    InputError: it is another task's, of which `what` knows nothing.
  """
  if not isinstance(config, config_lib.Config):
    raise errors.InputError(
      f"{what}: expected a run on clicks, found one of task={config.task!r}"
    )
  return config
