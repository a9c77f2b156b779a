"""What a run will need on many devices, said before anything runs.

python -m dicm_jax.plan --config=configs/dicm.py --devices=64 --memory_gb=80

Memory of a device by part, bytes that it sends by collective, work, the time of
a step, and the mesh to take. No table is allocated, and the devices need not be
there. The workload is that of the config's data set, or of numbers:

  --page_views=8192 --behaviours=267000 --user_ids=500000 --ad_fields=15
  --user_fields=12 --distinct_ids=1400000 --distinct_images=320000

all of a step, over all devices; --id_rows and --images give the tables' rows.
"""

from collections.abc import Callable
import dataclasses
import functools

from absl import app, flags
import jax
from ml_collections import config_flags

from dicm_jax import any_config, command, errors, experiment, hardware
from dicm_jax import config as config_lib
from dicm_jax.data import click_log, feature_files
from dicm_jax.planning import advice, encoder, forecast, plan_text, workload
from dicm_jax.planning.forecast import Plan
from dicm_jax.sharding import mesh, table


def main(config_flag: flags.FlagHolder, argv: list[str]) -> None:
  del argv
  command.start_logs()
  jax.config.update("jax_platforms", "cpu")  # Shapes need no more.
  try:
    values = any_config.from_dict(command.config_values(config_flag))
    config = any_config.clicks_only(values, "dicm_jax.plan")
    print("\n".join(lines(config)))
  except errors.InputError as e:
    command.fail(e)


def lines(config: config_lib.Config) -> list[str]:
  """What the command prints.

  Raises:
    InputError: a flag or a value of the config is wrong.
  """
  device = _hardware()
  check(config, flags.FLAGS.devices)
  data = None if _stated() else experiment.load_data(config.data)
  made = encoder.of_config(config, _feature_width(data))
  load_of = _workloads(config, data)

  def plan_for(worker: int, server: int) -> Plan:
    return forecast.make(config, load_of(worker, server), made, device)

  chosen = mesh.split(
    config.mesh.worker, config.mesh.server, flags.FLAGS.devices
  )
  plans = {
    split: plan_for(*split) for split in advice.splits(flags.FLAGS.devices)
  }
  best = advice.fastest_that_fits([*plans.values()], device.memory_bytes)
  out = plan_text.of_plan(plans[chosen], device)
  out += ["", *plan_text.of_splits([*plans.values()], device)]
  if best:
    return [*out, "", plan_text.of_best(best)]
  needed = advice.devices_needed(
    lambda n: plan_for(1, n), flags.FLAGS.devices, device.memory_bytes
  )
  remedies = advice.remedies(config, plans[chosen], device)
  return [*out, "", *plan_text.of_none(needed, remedies)]


def _hardware() -> hardware.Hardware:
  name = flags.FLAGS.hardware
  if name not in hardware.HARDWARE:
    raise errors.unknown_name("--hardware", name, hardware.HARDWARE)
  if (flags.FLAGS.memory_gb or 0) < 0:
    raise errors.InputError(
      f"--memory_gb: expected >= 0, found {flags.FLAGS.memory_gb}"
    )
  found = hardware.HARDWARE[name]
  size = flags.FLAGS.memory_gb * advice.GB or found.memory_bytes
  return dataclasses.replace(found, memory_bytes=size)


def check(config: config_lib.Config, devices: int) -> None:
  """Refuses what training on so many devices would refuse.

  Raises:
    InputError: the devices cannot share the tables or the batch.
  """
  if devices < 1:
    raise errors.InputError(f"--devices: expected >= 1, found {devices}")
  table.check_owners(devices)
  experiment.check_batch_size(config.train.batch_size, devices)


def _stated() -> dict[str, int]:
  """Flags that describe a step; all of them or none.

  Raises:
    InputError: some are missing, or one is out of range.
  """
  names = (*workload.STATED, "id_rows", "images")
  values = {name: int(flags.FLAGS[name].value or 0) for name in names}
  if not any(values[name] for name in workload.STATED):
    return {}
  for name, value in values.items():
    if value < 1:
      raise errors.InputError(
        f"--{name}: expected >= 1, as a step is described by flags "
        f"({', '.join(values)}); found {value or 'none'}"
      )
  return values


def _rows() -> dict[str, int]:
  """Rows of tables that replace those of the data.

  Raises:
    InputError: one is negative.
  """
  fields = {"id_rows": "id_rows", "images": "image_rows"}
  values = {name: int(flags.FLAGS[name].value or 0) for name in fields}
  for name, value in values.items():
    if value < 0:
      raise errors.InputError(f"--{name}: expected >= 0, found {value}")
  return {fields[name]: n for name, n in values.items() if n}


def _workloads(
  config: config_lib.Config, data: click_log.Dataset | None
) -> Callable[[int, int], workload.Workload]:
  """(worker, server) -> what a step has to do there."""
  if data is None:
    of = workload.Stated(**_stated())
    return lambda *split: workload.stated(config, of, *split)
  given = _rows()
  probed = functools.cache(lambda n: workload.probe(config, data, n))

  def measured(worker: int, server: int) -> workload.Workload:
    slices = probed(worker * server)
    found = workload.measured(config, data, slices, worker, server)
    return dataclasses.replace(found, **given)

  return measured


def _feature_width(data: click_log.Dataset | None) -> int:
  if flags.FLAGS.feature_width or data is None:
    return flags.FLAGS.feature_width
  stored = data.held(feature_files.PRECOMPUTED, False)
  return 0 if stored is None else stored.row_shape[0]


def define_flags() -> flags.FlagHolder:
  """Defines the command's flags; returns that of the config."""
  number = flags.DEFINE_integer
  config = config_flags.DEFINE_config_file(
    "config", None, "File of configs/; override keys by --config.KEY=VALUE."
  )
  flags.mark_flag_as_required("config")
  number("devices", 1, "Devices, there or not.")
  flags.DEFINE_float(
    "memory_gb", 0.0, "Memory of a device, 10^9 bytes; 0: the hardware's."
  )
  flags.DEFINE_string("hardware", "h100", "A name of hardware.py.")
  number("id_rows", 0, "Rows of the ID table; 0: the data's.")
  number("images", 0, "Rows of the image table; 0: the data's.")
  number("feature_width", 0, "Numbers of an image's vector made elsewhere.")
  for name in workload.STATED:
    number(name, 0, f"Of a step: see workload.Stated.{name}.")
  return config


if __name__ == "__main__":
  app.run(
    functools.partial(main, define_flags()), flags_parser=command.parse_flags
  )
