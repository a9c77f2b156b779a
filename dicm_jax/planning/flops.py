"""Work of a function, counted in its traced program: nothing runs.

A product of matrices or a convolution counts a product and a sum for each pair
of numbers; whatever else computes counts one for each number that it makes, or
that it reads to sum up. Moves, shapes and random access count nothing. That is
how XLA's own cost analysis counts, which leaves exponentials and the like to a
figure of their own.
"""

from collections.abc import Callable
import math

import jax

_MOVES = frozenset(
  {
    "broadcast_in_dim",
    "concatenate",
    "copy",
    "device_put",
    "dynamic_slice",
    "dynamic_update_slice",
    "gather",
    "iota",
    "optimization_barrier",
    "pad",
    "reshape",
    "rev",
    "scatter",
    "slice",
    "split",
    "squeeze",
    "stop_gradient",
    "transpose",
  }
)
_TRANSCENDENTAL = frozenset(
  {"cos", "erf", "exp", "exp2", "expm1", "log", "log1p", "logistic"}
  | {"pow", "rsqrt", "sin", "sqrt", "tanh"}
)
_SUMS = frozenset({"argmax", "argmin"})
"""Besides those whose names begin with `reduce_`."""


def count(function: Callable, *shapes, scans_once: bool = False) -> float:
  """FLOPs of one call.

  Args:
    function: as for `jax.jit`, without loops of an unknown number of turns.
    shapes: its arguments, arrays or shapes.
    scans_once: whether the body of a scan counts once, as XLA has it.
  """
  return _of_program(jax.make_jaxpr(function)(*shapes).jaxpr, scans_once)


def _of_program(program, scans_once: bool) -> float:
  return math.fsum(_of_equation(e, scans_once) for e in program.eqns)


def _of_equation(equation, scans_once: bool) -> float:
  name = equation.primitive.name
  if name == "dot_general":
    return _of_product(equation)
  if name == "conv_general_dilated":
    return _of_convolution(equation)
  inner = [
    part for value in equation.params.values() for part in _programs(value)
  ]
  if inner:  # A call of another program; a scan repeats it.
    turns = 1 if scans_once else equation.params.get("length", 1)
    return turns * math.fsum(_of_program(part, scans_once) for part in inner)
  if name in _MOVES or name in _TRANSCENDENTAL:
    return 0.0
  if name in _SUMS or name.startswith("reduce_"):
    return float(equation.invars[0].aval.size)
  if name.startswith("scatter"):  # Those that add up what they meet.
    return float(equation.invars[2].aval.size)
  return float(sum(v.aval.size for v in equation.outvars))


def _programs(value) -> list:
  """Programs in a parameter of an equation."""
  parts = value if isinstance(value, (tuple, list)) else [value]
  found = [getattr(part, "jaxpr", part) for part in parts]
  return [part for part in found if hasattr(part, "eqns")]


def _of_product(equation) -> float:
  (contracted, _), _ = equation.params["dimension_numbers"]
  shape = equation.invars[0].aval.shape
  depth = math.prod(shape[axis] for axis in contracted)
  return 2.0 * depth * equation.outvars[0].aval.size


def _of_convolution(equation) -> float:
  """Those at the border, which meet padding, count in full."""
  kernel = equation.invars[1].aval.shape
  outputs_axis = equation.params["dimension_numbers"].rhs_spec[0]
  each = math.prod(kernel) / kernel[outputs_axis]
  return 2.0 * each * equation.outvars[0].aval.size
