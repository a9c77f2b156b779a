"""Many benchmarks, one after another, and the table that they make."""

import json
import pathlib
import sys

import pytest

from benchmarks import all as all_benchmarks
from benchmarks import report, results_table
from dicm_jax import errors

PAGE = f"# Page\n\n{results_table.BEGIN}\nold\n{results_table.END}\nby hand\n"
RESULT = {
  "unit": "time a / b",
  "value": 1.23456,
  "goal": "<= 1.1",
  "spread": [1.2, 1.3],
  "others": [{"unit": "c", "value": 29, "goal": ">= 25", "spread": None}],
  "device": "cpu (x86_64)",
  "devices": 8,
  "cores": 2,
  "versions": {"jax": "0.10.2"},
}


def python(text: str) -> list[str]:
  return [sys.executable, "-c", text]


def saying(result) -> list[str]:
  return python(f"print('first'); print({json.dumps(result)!r})")


def entry(**values):
  return {"date": "2026-11-27", "seconds": 1.0} | values


@pytest.fixture
def files(tmp_path) -> tuple[pathlib.Path, pathlib.Path]:
  page = tmp_path / "page.md"
  page.write_text(PAGE)
  return tmp_path / "results.json", page


def test_the_last_line_is_what_a_benchmark_found():
  found = all_benchmarks.measure(saying(RESULT))
  assert found["result"] == RESULT
  assert "failure" not in found


@pytest.mark.parametrize(
  "program, failure",
  [
    ("import sys; sys.exit('no luck')", "exit code 1: no luck"),
    ("print(1); print()", "expected JSON with a value last, found: 1"),
    ("print('{}')", "expected JSON with a value last, found: {}"),
    (
      "print('{\"value\": 1}')",
      'expected JSON with a value last, found: {"value": 1}',
    ),
    ("pass", "expected JSON with a value last, found: "),
    ("import time; time.sleep(9)", "not done after 1 s"),
  ],
)
def test_a_benchmark_that_finds_nothing_says_why(program, failure):
  found = all_benchmarks.measure(python(program), limit_s=1)
  assert found["failure"] == failure
  assert "result" not in found


def test_a_module_that_is_not_there_is_a_failure():
  program = all_benchmarks.program_of("nonesuch --fast")
  found = all_benchmarks.measure(program)
  assert found["failure"].endswith("No module named benchmarks.nonesuch")


def test_rows_say_value_spread_goal_and_place():
  head, _, *rows, _, place = results_table.lines(
    ["a --b=1", "lost", "never"],
    {"a --b=1": entry(result=RESULT), "lost": entry(failure="1 | 2")},
  )
  assert head.count("|") == 9
  a, c, lost, never = rows
  assert a == (
    "| `python -m benchmarks.a --b=1` | time a / b | 1.235 | 1.2 to 1.3 | "
    "<= 1.1 | no | 2026-11-27 | a |"
  )
  assert "| c | 29 |  | >= 25 | yes |" in c
  assert "benchmarks.lost` | **failed**: 1 / 2 |" in lost
  assert lost.count("|") == 9
  assert "benchmarks.never` | not run |" in never
  assert place == "- a: 8 x cpu (x86_64), 2 cores; jax 0.10.2"


@pytest.mark.parametrize(
  "goal, answer",
  [
    ("<= 2", True),
    ("< 2", False),
    (">= 2", True),
    ("> 2.5", False),
    ("< 158", True),
    (None, None),
    (">= 2, and more", None),
  ],
)
def test_whether_a_two_meets_a_goal(goal, answer):
  assert report.met(2.0, goal) is answer


def test_only_what_lies_between_the_marks_changes():
  page = results_table.replace(PAGE, "new")
  assert page.startswith("# Page\n\n")
  assert page.endswith("\nby hand\n")
  assert "old" not in page and "\nnew\n" in page
  assert results_table.replace(page, "new") == page


@pytest.mark.parametrize(
  "page",
  [
    "",
    results_table.BEGIN,
    results_table.END + results_table.BEGIN,
    PAGE + PAGE,
  ],
)
def test_a_page_without_the_marks_stops_before_anything_runs(files, page):
  files[1].write_text(page)
  with pytest.raises(errors.InputError, match="between which the table"):
    all_benchmarks.run(["routing"], *files, program_of=pytest.fail)
  assert files[1].read_text() == page


def test_one_that_fails_does_not_stop_the_rest(files):
  programs = {"routing": python("x"), "table2": saying(RESULT)}
  failed = all_benchmarks.run(
    ["routing", "table2"], *files, program_of=programs.__getitem__
  )
  assert failed == ["routing"]
  page = files[1].read_text()
  assert "**failed**: exit code 1: NameError: name 'x' is not" in page
  assert "| 1.235 |" in page
  assert "by hand" in page


def test_the_others_keep_their_results(files):
  results, page = files
  old = entry(result=RESULT | {"value": 7.5})
  results.write_text(json.dumps({"routing": old, "table2": old}))
  all_benchmarks.run(["routing"], *files, program_of=lambda _: saying(RESULT))
  found = json.loads(results.read_text())
  assert found["table2"] == old
  assert found["routing"]["result"] == RESULT
  assert "| 1.235 |" in page.read_text() and "| 7.5 |" in page.read_text()


def test_only_takes_names_of_modules():
  chosen = all_benchmarks.choose("table_size,routing", {})
  assert chosen == [
    "routing",
    "table_size --table=ids",
    "table_size --table=content",
  ]
  assert all_benchmarks.choose("", {}) == list(all_benchmarks.BENCHMARKS)
  with pytest.raises(errors.InputError, match="did you mean 'routing'"):
    all_benchmarks.choose("tiers,ruoting", {})


def test_what_has_a_result_is_not_missing():
  there = {
    "table_size --table=ids": entry(result=RESULT),
    "routing": entry(failure="no luck"),
  }
  chosen = all_benchmarks.choose("table_size,routing", there)
  assert chosen == ["routing", "table_size --table=content"]
