"""A preparation killed at random moments ends as an undisturbed one does."""

import contextlib
import io
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import pytest

from dicm_jax import prepare
from dicm_jax.data import files, image_store

KILLS = 20
PICTURES = 300  # More than one file of the store, several blocks of features.
SCHEMA = """
[log]
label = "label"
user = "user"
time = "time"
[split]
rule = "user"
test_share = 0.2
[[feature]]
name = "ad_id"
side = "ad"
kind = "id"
history = true
[[feature]]
name = "price"
side = "ad"
kind = "dense"
[[feature]]
name = "picture"
side = "ad"
kind = "image"
history = true
"""


def picture(number: int) -> bytes:
  pixels = np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8)
  out = io.BytesIO()
  Image.fromarray(pixels).save(out, "PNG")
  return out.getvalue()


def write(folder: pathlib.Path, *, events: int, pictures: int) -> None:
  """A log as text with wrong lines; of its pictures the last one is damaged."""
  (folder / "log").mkdir()
  (folder / "pictures").mkdir()
  (folder / "schema.toml").write_text(SCHEMA)
  rng = np.random.default_rng(0)
  for part in range(3):
    lines = ["label,user,time,ad_id,price,picture"]
    for number in range(events // 3):
      item = int(rng.integers(pictures))
      label = "maybe" if number == 7 else int(rng.random() < 0.3)
      user, moment = rng.integers(50), rng.integers(10**6)
      lines.append(f"{label},u{user},{moment},a{item},{item / 8},p{item:03}")
    text = "\n".join(lines) + "\n"
    (folder / "log" / f"{part}.csv").write_text(text)
  for item in range(pictures):
    data = picture(item) if item % 100 != 99 else b"damaged"
    (folder / "pictures" / f"p{item:03}.png").write_bytes(data)


def contents(out: pathlib.Path) -> dict[str, bytes]:
  return {
    p.relative_to(out).as_posix(): p.read_bytes()
    for p in out.rglob("*")
    if p.is_file()
  }


def start(folder: pathlib.Path, out: pathlib.Path) -> subprocess.Popen:
  """The command itself, with a cache of features of its own."""
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "dicm_jax.prepare", "--on_bad=skip"),
      f"--samples={folder / 'log'}",
      f"--images={folder / 'pictures'}",
      f"--schema={folder / 'schema.toml'}",
      "--backbone=squeezenet",
      f"--out={out}",
    ],
    cwd=pathlib.Path(__file__).parents[1],
    env=os.environ | {"XDG_CACHE_HOME": f"{out}-cache"},
    stderr=subprocess.DEVNULL,
  )


def undisturbed(folder: pathlib.Path, out: pathlib.Path) -> tuple[float, float]:
  """Seconds until the command's work begins, and what it takes then."""
  process, begun = start(folder, out), time.monotonic()
  while not out.exists():
    time.sleep(0.01)
  working = time.monotonic()
  assert process.wait() == 0
  return working - begun, time.monotonic() - working


@pytest.mark.slow
def test_killed_command_ends_with_the_same_bytes(tmp_path):
  write(tmp_path, events=6000, pictures=PICTURES)
  whole, out = tmp_path / "whole", tmp_path / "killed"
  idle, working = undisturbed(tmp_path, whole)
  expected = contents(whole)
  assert len(expected) >= 8
  moments, killed, left = random.Random(0), 0, []
  while killed < KILLS:
    process = start(tmp_path, out)
    try:
      process.wait(idle + moments.random() * working)
    except subprocess.TimeoutExpired:
      process.send_signal(signal.SIGKILL)
      process.wait()
      killed += 1
      cache = pathlib.Path(f"{out}-cache")
      left.append((len(contents(out)), len(contents(cache))))
    else:  # It came to its end before the signal: begin anew.
      assert contents(out) == expected
      shutil.rmtree(out)
      shutil.rmtree(f"{out}-cache")
  assert start(tmp_path, out).wait() == 0
  assert contents(out) == expected
  begun = [state for state in left if state != (0, 0)]
  assert len(begun) > KILLS // 3, "too few kills hit the work itself"
  assert len(set(begun)) > 2, "all of them at the same stage"


class Kill(BaseException):
  """Stands for the signal, at a moment of our choice."""


def attempt(options: prepare.Options, monkeypatch, at: int, *, after: bool):
  """Runs until the file number `at` takes its name; returns their number."""
  number, replace = 0, os.replace

  def watched(part, path):
    nonlocal number
    number += 1
    if number == at and not after:
      raise Kill
    replace(part, path)
    if number == at:
      raise Kill

  with monkeypatch.context() as patch:
    patch.setattr(files.os, "replace", watched)
    with contextlib.suppress(Kill):
      prepare.prepare(options)
  return number


@pytest.mark.slow
@pytest.mark.parametrize("given", ["images", "vectors", "titles"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_file_it_ends_with_the_same_bytes(
  tmp_path, monkeypatch, given, after
):
  monkeypatch.setattr(image_store, "PART_PICTURES", 40)
  write(tmp_path, events=300, pictures=100)
  vectors = np.random.default_rng(0).random((99, 4), np.float32)
  np.save(tmp_path / "v.npy", vectors)
  (tmp_path / "v.ids.txt").write_text(
    "\n".join(f"p{item:03}" for item in range(99))
  )
  titles = "".join(f"p{item:03},dress {item}\n" for item in range(90))
  (tmp_path / "titles.csv").write_text(f"key,title\n{titles}")

  def options(out: pathlib.Path) -> prepare.Options:
    titles = {"titles": tmp_path / "titles.csv"}
    paths = {
      "images": {"images": tmp_path / "pictures"} | titles,
      "vectors": {"vectors": tmp_path / "v.npy"},
      "titles": titles,
    }
    return prepare.Options(
      format="table",
      samples=tmp_path / "log",
      schema=tmp_path / "schema.toml",
      on_bad="skip",
      out=out,
      **paths[given],
    )

  whole = options(tmp_path / "whole")
  count = attempt(whole, monkeypatch, -1, after=after)
  assert count >= 15
  for at in range(1, count + 1):
    killed = options(tmp_path / str(at))
    assert attempt(killed, monkeypatch, at, after=after) == at
    prepare.prepare(killed)
    assert contents(killed.out) == contents(whole.out), at
