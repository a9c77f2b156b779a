"""The results of many benchmarks as a table in a page of the docs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks import report
from dicm_jax import errors

BEGIN = "<!-- Made by python -m benchmarks.all from here -->"
END = "<!-- to here -->"
HEAD = (
  "command",
  "what is measured",
  "value",
  "quartiles",
  "goal",
  "met",
  "date",
  "on",
)
ANSWERS = {True: "yes", False: "no", None: ""}


def lines(
  benchmarks: Sequence[str], entries: Mapping[str, Mapping[str, Any]]
) -> list[str]:
  """The table, and under it what the letters of its last column mean.

  Args:
    benchmarks: modules with arguments, in the table's order.
    entries: of some of them, as `benchmarks.all` keeps them.
  """
  there = [entries.get(name, {}).get("result") for name in benchmarks]
  places = list(dict.fromkeys(_place(found) for found in there if found))
  return [
    _row(HEAD),
    "|---" * len(HEAD) + "|",
    *(row for name in benchmarks for row in rows(name, entries, places)),
    "",
    *(f"- {_letter(i)}: {place}" for i, place in enumerate(places)),
  ]


def rows(
  name: str,
  entries: Mapping[str, Mapping[str, Any]],
  places: Sequence[str] = (),
) -> list[str]:
  """A benchmark's rows: one for each figure, or what kept it from any."""
  command, entry = f"`python -m benchmarks.{name}`", entries.get(name)
  if entry is None:
    return [_row((command, "not run"))]
  if "failure" in entry:
    failure = f"**failed**: {entry['failure']}"
    return [_row((command, failure, *[""] * 4, entry["date"]))]
  result = entry["result"]
  place = _place(result)
  where = _letter(places.index(place)) if place in places else ""
  figures = [result, *result.get("others", ())]
  return [_row((command, *_cells(f), entry["date"], where)) for f in figures]


def check(result: Mapping[str, Any]) -> None:
  """Raises KeyError or TypeError where the table lacks something to say."""
  _place(result)
  for figure in (result, *result.get("others", ())):
    _cells(figure)


def _cells(figure: Mapping[str, Any]) -> tuple[str, ...]:
  value, goal = figure["value"], figure.get("goal")
  return (
    figure["unit"],
    f"{value:.4g}",
    " to ".join(f"{end:.4g}" for end in figure.get("spread") or ()),
    goal or "",
    ANSWERS[report.met(value, goal)],
  )


def _place(result: Mapping[str, Any]) -> str:
  """What a benchmark ran on."""
  versions = [f"{k} {v}" for k, v in result["versions"].items()]
  devices = f"{result['devices']} x {result['device']}"
  return f"{devices}, {result['cores']} cores; {', '.join(versions)}"


def _letter(number: int) -> str:
  return chr(ord("a") + number)


def _row(cells: Iterable[str]) -> str:
  padded = [*cells, *[""] * len(HEAD)][: len(HEAD)]
  return f"| {' | '.join(cell.replace('|', '/') for cell in padded)} |"


def replace(page: str, table: str) -> str:
  """The page with another table between the two lines that mark its place.

  Raises:
    InputError: the page has not each of them once, in order.
  """
  before, begin, rest = page.partition(BEGIN)
  _, end, after = rest.partition(END)
  if not (begin and end) or BEGIN in rest or END in before + after:
    raise errors.InputError(
      f"docs/benchmarks.md: expected one line {BEGIN!r} and after it one "
      f"{END!r}, between which the table stands; found "
      f"{page.count(BEGIN)} and {page.count(END)}, or not in this order"
    )
  return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"
