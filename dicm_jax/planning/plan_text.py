"""A plan as lines for people."""

from collections.abc import Sequence

from dicm_jax.hardware import Hardware
from dicm_jax.planning import advice, traffic
from dicm_jax.planning.forecast import Plan


def of_plan(plan: Plan, hardware: Hardware) -> list[str]:
  """Memory, traffic, work and time of one mesh."""
  load, held = plan.load, plan.memory
  out = [
    f"mesh {load.worker} x {load.server} (worker x server), "
    f"{load.batch_size:,} samples a step, {load.id_rows:,} ID rows, "
    f"{load.image_rows:,} images, {plan.parameters:,} dense parameters",
    "",
    _head("held by one device", "bytes"),
  ]
  out += [_line(name, size) for name, size in held.parts.items()]
  out += [
    _line("activations (an estimate)", held.activations),
    _line("brought ahead, for the next step", held.ahead),
    f"{_line('all', held.total)}   of {hardware.memory_bytes:,.0f}",
    "",
    *_of_host(plan),
    _head("sent by one device in a step", "bytes", "lower bound"),
  ]
  out += [
    _line(f"{s.name} ({s.kind} of {s.group})", s.wire_bytes, s.bound_bytes)
    for s in plan.sent
  ]
  out += [
    _line("all", traffic.total(plan.sent), traffic.bound(plan.sent)),
    "",
    _head("work of one device in a step", "MFLOP", "ms"),
  ]
  out += [
    f"  {name:<40}{plan.flops.get(name, 0) / 1e6:>20,.1f}{1e3 * s:>16.3f}"
    for name, s in plan.seconds.items()
  ]
  if held.host:
    name = "meanwhile, between host and device"
    out.append(f"  {name:<40}{'':>20}{1e3 * plan.host_s:>16.3f}")
  rate = load.batch_size / plan.step_s
  step = f"{1e3 * plan.step_s:.3f} ms a step, {rate:,.0f} samples a second"
  return [*out, "", f"predicted: {step}"]


def _of_host(plan: Plan) -> list[str]:
  """Tables of which the devices have a step's rows only."""
  held = plan.memory.host
  if not held:
    return []
  lines = [_line(name, size) for name, size in held.items()]
  return [_head("on all hosts together", "bytes"), *lines, ""]


def of_splits(plans: Sequence[Plan], hardware: Hardware) -> list[str]:
  """One line a mesh."""
  out = [_head("worker x server", "GB a device", "ms a step")]
  for plan in plans:
    name = f"{plan.load.worker} x {plan.load.server}"
    fits = plan.memory.total <= hardware.memory_bytes
    size, time = plan.memory.total / advice.GB, 1e3 * plan.step_s
    note = "" if fits else "   does not fit"
    out.append(f"  {name:<40}{size:>20,.3f}{time:>16.3f}{note}")
  return out


def of_best(plan: Plan) -> str:
  return (
    f"advice: --config.mesh.worker={plan.load.worker} "
    f"--config.mesh.server={plan.load.server}, the fastest that fits"
  )


def of_none(needed: int | None, remedies: Sequence[str]) -> list[str]:
  """What to do where no mesh has room."""
  enough = (
    f"with {needed} devices it would fit"
    if needed
    else "nor would it on 256, the most that can share a table"
  )
  head = f"advice: it does not fit on these devices; {enough}. Otherwise:"
  return [head, *(f"- {remedy}" for remedy in remedies)]


def _head(name: str, *columns: str) -> str:
  first, *rest = columns
  return f"{name:<42}{first:>20}" + "".join(f"{c:>16}" for c in rest)


def _line(name: str, *sizes: float) -> str:
  first, *rest = sizes
  return f"  {name:<40}{first:>20,.0f}" + "".join(f"{s:>16,.0f}" for s in rest)
