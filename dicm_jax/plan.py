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

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "File of configs/; override keys by --config.KEY=VALUE."
)
_DEVICES = flags.DEFINE_integer("devices", 1, "Devices, there or not.")
_MEMORY_GB = flags.DEFINE_float(
  "memory_gb", 0.0, "Memory of a device, 10^9 bytes; 0: the hardware's."
)
_HARDWARE = flags.DEFINE_string("hardware", "h100", "A name of hardware.py.")
flags.DEFINE_integer("id_rows", 0, "Rows of the ID table; 0: the data's.")
flags.DEFINE_integer("images", 0, "Rows of the image table; 0: the data's.")
_FEATURE_WIDTH = flags.DEFINE_integer(
  "feature_width", 0, "Numbers of an image's vector made elsewhere."
)
for _name in workload.STATED:
  flags.DEFINE_integer(_name, 0, f"Of a step: see workload.Stated.{_name}.")
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
  del argv
  command.start_logs()
  jax.config.update("jax_platforms", "cpu")  # Shapes need no more.
  try:
    values = any_config.from_dict(command.config_values(_CONFIG))
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
  check(config, _DEVICES.value)
  data = None if _stated() else experiment.load_data(config.data)
  made = encoder.of_config(config, _feature_width(data))
  load_of = _workloads(config, data)

  def plan_for(worker: int, server: int) -> Plan:
    return forecast.make(config, load_of(worker, server), made, device)

  chosen = mesh.split(config.mesh.worker, config.mesh.server, _DEVICES.value)
  plans = {split: plan_for(*split) for split in advice.splits(_DEVICES.value)}
  best = advice.fastest_that_fits([*plans.values()], device.memory_bytes)
  out = plan_text.of_plan(plans[chosen], device)
  out += ["", *plan_text.of_splits([*plans.values()], device)]
  if best:
    return [*out, "", plan_text.of_best(best)]
  needed = advice.devices_needed(
    lambda n: plan_for(1, n), _DEVICES.value, device.memory_bytes
  )
  remedies = advice.remedies(config, plans[chosen], device)
  return [*out, "", *plan_text.of_none(needed, remedies)]


def _hardware() -> hardware.Hardware:
  name = _HARDWARE.value
  if name not in hardware.HARDWARE:
    raise errors.unknown_name("--hardware", name, hardware.HARDWARE)
  if (_MEMORY_GB.value or 0) < 0:
    raise errors.InputError(
      f"--memory_gb: expected >= 0, found {_MEMORY_GB.value}"
    )
  found = hardware.HARDWARE[name]
  size = _MEMORY_GB.value * advice.GB or found.memory_bytes
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
  image = config.image
  if image.mode == "titles" or image.tier != "device":
    raise errors.InputError(
      "a plan is of image.mode='features' or 'pixels' with "
      f"image.tier='device'; found {image.mode!r} with {image.tier!r}"
    )


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
  if _FEATURE_WIDTH.value or data is None:
    return _FEATURE_WIDTH.value
  stored = data.frozen(feature_files.PRECOMPUTED)
  return 0 if stored is None else stored.shape[1]


if __name__ == "__main__":
  app.run(main, flags_parser=command.parse_flags)
