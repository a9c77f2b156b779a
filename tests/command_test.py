"""Wrong input: one clear message, exit code 2, and no file changed."""

import functools
import logging
import pathlib
import runpy
import shutil
import sys

from absl import flags
import absl.logging
import pytest

from dicm_jax import command, config, main, workdir
from dicm_jax.data import sample

# ml_collections loads config files by a method that Python gives up in 3.15.
pytestmark = pytest.mark.filterwarnings(
  "ignore:.*load_module:DeprecationWarning"
)

ROOT = pathlib.Path(__file__).parents[1]
QUICK = f"--config={ROOT / 'configs' / 'quickstart.py'}"


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
  """Runs the command in this process; returns the one line it says.

  It checks that the command fails as it should and changes nothing on disk.
  """
  ours = logging.getLogger("dicm_jax")
  handlers, propagate, level = ours.handlers, ours.propagate, ours.level
  verbosity = absl.logging.get_verbosity()

  def run(*args, config_flag=QUICK):
    before = _files(tmp_path)
    argv = [
      "dicm_jax.main",
      config_flag,
      f"--workdir={tmp_path / 'run'}",
      *args,
    ]
    # Overrides become flags, read off sys.argv, when a config is parsed.
    monkeypatch.setattr(sys, "argv", argv)
    _forget_flags()
    with pytest.raises(SystemExit) as exit_:
      main.main(command.parse_flags(argv))
    out, err = capsys.readouterr()
    assert exit_.value.code == 2
    assert out == ""
    assert _files(tmp_path) == before
    return _message(err)

  yield run
  _forget_flags()
  ours.handlers, ours.propagate = handlers, propagate
  ours.setLevel(level)
  absl.logging.set_verbosity(verbosity)


def _forget_flags():
  sys.modules.pop("config_config", None)  # The config file loaded before.
  flags.FLAGS.unparse_flags()
  for name in list(flags.FLAGS):
    if name.startswith("config."):
      delattr(flags.FLAGS, name)


def _files(folder):
  """All below a folder, with the bytes of the files."""
  return {
    path: path.read_bytes() if path.is_file() else None
    for path in folder.rglob("*")
  }


def _message(err):
  """The only line of stderr."""
  assert err.startswith("dicm_jax: ")
  assert err.count("\n") == 1
  assert err.endswith("\n")
  return err.removeprefix("dicm_jax: ").rstrip()


@pytest.mark.parametrize(
  "override, found, nearest",
  [
    ("train.stpes=3", "train.stpes", "'train.steps'"),
    ("optimizer.name=sgd", "optimizer", "'dense_optimizer'"),
    ("qwerty.zzz=3", "qwerty", None),
    ("train.zzz=3", "train.zzz", None),
  ],
)
def test_unknown_config_key(call, override, found, nearest):
  message = call(f"--config.{override}")
  hint = f"; did you mean {nearest}?" if nearest else ""
  assert message == f"unknown config key {found!r}{hint}"


@pytest.mark.parametrize(
  "key, value",
  [
    ("train.steps", "many"),
    ("train.steps", "2.5"),
    ("train", "3"),
    ("dense_optimizer.learning_rate", "fast"),
    ("model.image_widths", "(3,"),
    ("model.image_widths", "wide"),
  ],
)
def test_value_of_another_type(call, key, value):
  message = call(f"--config.{key}={value}")
  assert key in message
  assert value in message


@pytest.mark.parametrize("more", [[], ["--config.train.steps=3"]])
def test_config_file_that_is_not_there(call, tmp_path, more):
  file = tmp_path / "nope.py"
  message = call(*more, config_flag=f"--config={file}")
  assert message.startswith("--config: ")
  assert f"No such file or directory: '{file}'" in message


def test_config_file_that_is_a_folder(call, tmp_path):
  message = call(config_flag=f"--config={tmp_path}")
  assert message.startswith("--config: ")
  assert f"Is a directory: '{tmp_path}'" in message


def test_config_file_without_get_config(call, tmp_path):
  file = tmp_path / "empty.py"
  file.write_text("")
  message = call(config_flag=f"--config={file}")
  assert message.startswith("--config: ")
  assert "get_config" in message


@pytest.mark.parametrize(
  "text, line, reason",
  [
    ("def get_config(:", 1, "invalid syntax"),
    (
      "x = 1\nimport nonesuch",
      2,
      "ModuleNotFoundError: No module named 'nones",
    ),
    (
      "def get_config():\n  return nothing",
      2,
      "NameError: name 'nothing' is no",
    ),
    ("def get_config():\n  return int('x')", 2, "ValueError: invalid literal"),
    ("def get_config():\n  open('/nope')", 2, "FileNotFoundError: 2 No such"),
  ],
)
@pytest.mark.parametrize("more", [[], ["--config.train.steps=3"]])
def test_config_file_with_a_mistake(call, tmp_path, text, line, reason, more):
  file = tmp_path / "wrong.py"
  file.write_text(text)
  message = call(*more, config_flag=f"--config={file}")
  assert message.startswith(f"--config: {file}, line {line}: {reason}")


def test_config_file_that_returns_a_dict(call, tmp_path):
  file = tmp_path / "dict.py"
  file.write_text("def get_config():\n  return {}")
  assert call(config_flag=f"--config={file}") == (
    "--config: expected get_config() to return a ConfigDict of ml_collections, "
    "found dict"
  )


@pytest.mark.parametrize(
  "key, found, nearest",
  [
    ("image.backbone", "vgg61", "vgg16"),
    ("image.cut", "fire8", "fire9"),
    ("sparse_optimizer.name", "adagrid", "adagrad"),
    ("dense_optimizer.name", "rsmprop", "rmsprop"),
    ("image.mode", "pixel", "pixels"),
    ("model.images", "behavior", "behaviour"),
  ],
)
def test_unknown_name_gives_the_nearest(call, key, found, nearest):
  message = call(f"--config.{key}={found}")
  assert f" {found!r}; did you mean {nearest!r}? (known: " in message


def test_vectors_made_elsewhere_cannot_be_cut(call):
  message = call(
    "--config.image.backbone=precomputed", "--config.image.cut=fc7"
  )
  assert message == (
    "image.cut: expected '' with precomputed vectors, found 'fc7'"
  )


def test_folder_to_warm_up_from_that_is_no_run(call, tmp_path):
  message = call(
    "--config.warm_up.mode=partial", f"--config.warm_up.workdir={tmp_path}"
  )
  assert message == (
    "warm_up.workdir: expected the folder of a run, found no checkpoints in "
    f"{tmp_path}"
  )


def test_unknown_name_like_no_other(call):
  message = call("--config.dense_optimizer.name=qqq")
  assert message.startswith("unknown dense_optimizer.name 'qqq' (known: ")


def test_rate_out_of_its_range_is_of_its_section(call):
  message = call("--config.sparse_optimizer.learning_rate=0")
  assert message.startswith("sparse_optimizer: ")
  assert "learning_rate must be > 0, found 0.0" in message


def test_seed_that_is_too_large(call):
  message = call(f"--config.seed={10**23}")
  assert message == f"seed: expected <= 4294967295, found {10**23}"


def test_photograph_cut_short(call, tmp_path, monkeypatch):
  for name in ("0001.jpg", "0003.jpg"):
    shutil.copy(sample.FOLDER / name, tmp_path)
  table = "image,category\n0001.jpg,Hat\n0003.jpg,Dress\n"
  (tmp_path / "images.csv").write_text(table)
  file = tmp_path / "0003.jpg"
  file.write_bytes(file.read_bytes()[:2500])
  load = functools.partial(sample.load_catalogue, tmp_path)
  monkeypatch.setattr(sample, "load_catalogue", load)
  assert call().startswith(f"{file}: damaged or cut short picture (2500 bytes)")


def test_batch_size_that_the_devices_cannot_share(call):
  message = call("--config.train.batch_size=100")
  assert message.startswith("train.batch_size: expected a positive multiple")
  assert "8 devices, found 100" in message


def test_weights_file_that_does_not_exist(call, tmp_path):
  file = tmp_path / "no.safetensors"
  assert call(f"--config.image.weights={file}").startswith(f"{file}: ")


def test_number_out_of_its_range(call):
  message = call("--config.train.steps=0")
  assert message == "train.steps: expected >= 1, found 0"


def test_run_keeps_its_config_when_a_restart_is_refused(call, tmp_path):
  call("--config.mesh.worker=3")
  settings = config.from_dict(_quick_values())
  workdir.claim(tmp_path / "run", settings)
  (tmp_path / "run" / workdir.LOCK).touch()  # As every run leaves it.
  # The mesh is free to change, so only the build can find it wrong.
  assert "mesh.worker=3" in call("--config.mesh.worker=3")
  assert workdir.read_config(tmp_path / "run") == settings


def _quick_values():
  path = ROOT / "configs" / "quickstart.py"
  return runpy.run_path(str(path))["get_config"]().to_dict()


def test_data_path_that_cannot_be_read(call):
  message = call("--config.data.path=/nowhere")
  assert message.startswith("data.path: /nowhere holds no manifest.json")


def test_flags_that_are_wrong_or_missing(call):
  assert "--config" in call(config_flag="--cpu_devices=0")
  assert "workdri" in call("--workdri=here")
  assert call("extra") == "unexpected argument 'extra'"
  assert call("--cpu_devices=-1") == "--cpu_devices: expected >= 0, found -1"
