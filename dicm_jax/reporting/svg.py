"""Curves as SVG, whose colours the page's style decides."""

from collections.abc import Sequence
import html
import math
from typing import NamedTuple

WIDTH, HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 24, 12, 40
"""Room around the curves, in pixels."""
_TICKS = 5
"""Of an axis, about."""


class Curve(NamedTuple):
  """Points from left to right."""

  name: str
  x: Sequence[float]
  y: Sequence[float]


def curves(found: Sequence[Curve], x_label: str, y_label: str) -> str:
  """A chart of curves; the number of each is its class, s0 and so on.

  Points that are not finite are left out.
  """
  points = [
    [
      (float(x), float(y))
      for x, y in zip(c.x, c.y, strict=True)
      if math.isfinite(x) and math.isfinite(y)
    ]
    for c in found
  ]
  xs = [x for line in points for x, _ in line]
  ys = [y for line in points for _, y in line]
  if not xs:
    return "<p>No points yet.</p>"
  x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
  low_x, high_x = min(xs[0], *xs), max(xs[0], *xs)
  low_y, high_y = min(y_ticks[0], *ys), max(y_ticks[-1], *ys)

  def at(x: float, y: float) -> tuple[float, float]:
    right = (x - low_x) / ((high_x - low_x) or 1)
    up = (y - low_y) / ((high_y - low_y) or 1)
    return (
      round(_LEFT + right * (WIDTH - _LEFT - _RIGHT), 1),
      round(HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM), 1),
    )

  parts = [_across(at(low_x, y)[1], y) for y in y_ticks]
  parts += [_below(at(x, low_y)[0], x) for x in x_ticks if low_x <= x <= high_x]
  for number, line in enumerate(points):
    path = " ".join(f"{x},{y}" for x, y in (at(*point) for point in line))
    parts.append(f'<polyline class="curve s{number}" points="{path}"/>')
  middle = (_LEFT + WIDTH) / 2
  label = html.escape(f"{y_label} by {x_label}")
  return (
    f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
    f"{''.join(parts)}"
    f'<text class="axis" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">'
    f"{html.escape(x_label)}</text></svg>"
  )


def _across(y: float, value: float) -> str:
  return (
    f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
    f'<text class="axis" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">'
    f"{value:g}</text>"
  )


def _below(x: float, value: float) -> str:
  y = HEIGHT - _BOTTOM + 16
  return (
    f'<text class="axis" x="{x}" y="{y}" text-anchor="middle">{value:g}</text>'
  )


def ticks(low: float, high: float) -> list[float]:
  """Round numbers that span a range, a few.

  >>> ticks(0.62, 0.71)
  [0.62, 0.64, 0.66, 0.68, 0.7, 0.72]
  >>> ticks(3.0, 3.0)
  [3.0]
  """
  if high <= low:
    return [low]
  rough = (high - low) / _TICKS
  power = 10.0 ** math.floor(math.log10(rough))
  step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
  first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
  digits = max(0, 2 - math.floor(math.log10(step)))
  return [round(i * step, digits) for i in range(first, last + 1)]
