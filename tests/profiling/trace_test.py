"""Time by instruction, from events made by hand as profilers write them."""

import types

import pytest

from dicm_jax.profiling import trace

WINDOW = "window"


def event(name, start, end, **stats):
  return types.SimpleNamespace(
    name=name,
    start_ns=float(start),
    duration_ns=float(end - start),
    stats=stats.items(),
  )


def op(name, start, end, **stats):
  told = {"hlo_op": name, "hlo_module": "jit_step", "program_id": 7} | stats
  return event(f"kernel of {name}", start, end, **told)


def plane(name, **lines):
  made = [
    types.SimpleNamespace(name=name.replace("_", " "), events=events)
    for name, events in lines.items()
  ]
  return types.SimpleNamespace(name=name, lines=made)


def host(*events, start=0, end=100, **threads):
  own = [event(WINDOW, start, end), *events]
  return plane("/host:CPU", python=own, **threads)


def read(*planes, on_cpu=True, marks=()):
  found = trace.of_planes(planes, on_cpu=on_cpu, window=WINDOW, marks=marks)
  return {each.name: time for each, time in found.work.items()}, found


def test_nested_events_are_not_counted_twice():
  thread = [op("while.1", 10, 50), op("dot.1", 20, 25), op("dot.1", 30, 45)]
  work, found = read(host(one=thread))
  assert work == {"while.1": 20, "dot.1": 20}
  assert found.busy == [(10, 50)]


def test_threads_are_summed_and_busy_time_is_not():
  work, found = read(host(one=[op("dot.1", 10, 50)], two=[op("dot.1", 40, 60)]))
  assert work == {"dot.1": 60}
  assert found.busy == [(10, 60)]


def test_pieces_in_the_pool_are_of_the_instruction_that_made_them():
  def began(number, start):
    return event("ThreadpoolListener::StartRegion", start, start, _c=number)

  def handed(number, at):
    return event("ThreadpoolListener::Record", at, at, _p=number)

  def over(at):
    return event("ThreadpoolListener::StopRegion", at, at)

  first = [op("dot.1", 10, 12), handed(1, 11), handed(9, 60)]
  # A piece hands over a piece, and the pool runs an instruction in between.
  second = [began(1, 20), handed(2, 21), op("copy.1", 22, 25), over(30)]
  third = [began(2, 22), over(32), began(9, 61), over(70), over(71)]
  work, found = read(host(one=first, two=second, three=third))
  assert work == {"dot.1": 2 + 7 + 10, "copy.1": 3}
  assert found.busy == [(10, 12), (20, 32)]


def test_only_the_window_counts_and_marks_are_cut_to_it():
  thread = [op("dot.1", 0, 9), op("dot.1", 10, 20), op("dot.1", 30, 40)]
  marks = [
    event("input", 5, 15),
    event("input", 18, 19),
    event("input", 31, 40),
  ]
  work, found = read(
    host(*marks, start=10, end=30, one=thread), marks=["input"]
  )
  assert work == {"dot.1": 10}
  assert found.marks == {WINDOW: [(10, 30)], "input": [(10, 15), (18, 19)]}


def test_a_gpu_s_streams_count_once_and_the_host_s_threads_do_not():
  device = plane(
    "/device:GPU:0",
    Stream_13=[op("fusion.1", 10, 20), event("graph kernel", 30, 35)],
    Stream_14=[op("all-to-all.1", 15, 25), event("MemcpyH2D", 40, 45)],
    XLA_Ops=[op("fusion.1", 10, 20), op("all-to-all.1", 15, 25)],
  )
  work, found = read(host(one=[op("fusion.1", 1, 99)]), device, on_cpu=False)
  assert work == {"fusion.1": 10, "all-to-all.1": 10, "graph kernel": 5}
  assert found.busy == [(10, 25), (30, 35)]
  assert found.copies == [(40, 45)]
  unnamed = trace.Op("graph kernel", module="", program="")
  assert found.work[unnamed] == 5


def test_a_device_without_streams_tells_its_instructions():
  device = plane(
    "/device:TPU:0",
    Steps=[event("1", 0, 90)],
    XLA_Modules=[event("jit_step", 10, 50)],
    XLA_Ops=[op("%while.1", 10, 50), op("%dot.1", 20, 30)],
  )
  work, _ = read(host(), device, on_cpu=False)
  assert work == {"while.1": 30, "dot.1": 10}


def test_a_gpu_that_tells_nothing_is_not_taken_for_a_cpu():
  work, found = read(host(one=[op("fusion.1", 10, 20)]), on_cpu=False)
  assert not work
  assert not found.busy


def test_a_trace_without_its_window_is_no_trace_of_ours():
  with pytest.raises(ValueError, match="'window'"):
    read(plane("/host:CPU", python=[]))
