"""docs/launch.md: its YAML parses, its flags exist, and JAX reads its names."""

import pathlib
import re
import runpy

from absl import flags
import jax
import pytest
import yaml

from dicm_jax import main

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "launch.md").read_text()
COMMANDS = re.findall(r"python -m dicm_jax\.main((?:[^\n]*\\\n)*[^\n]*)", TEXT)
NAMES = r"\b(?:SLURM|OMPI|JAX|TPU|MEGASCALE|KUBERNETES)_[A-Za-z_]+|JOB_[A-Z_]+"


def manifests():
  blocks = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
  assert blocks
  return [m for block in blocks for m in yaml.safe_load_all(block)]


def test_every_yaml_block_is_a_list_of_manifests():
  for manifest in manifests():
    assert {"apiVersion", "kind", "metadata"} <= manifest.keys()


def test_the_job_set_is_what_jax_takes_it_for():
  (found,) = [m for m in manifests() if m["kind"] == "JobSet"]
  name = found["metadata"]["name"]
  (job,) = found["spec"]["replicatedJobs"]
  spec = job["template"]["spec"]
  assert job["replicas"] == 1
  assert spec["completionMode"] == "Indexed"
  assert spec["parallelism"] == spec["completions"]
  assert "subdomain" not in found["spec"]["network"]
  (container,) = spec["template"]["spec"]["containers"]
  (port,) = container["ports"]
  place = f"{name}-{job['name']}-0-0.{name}:{port['containerPort']}"
  (named,) = [c for c in COMMANDS if "$JOB_COMPLETION_INDEX" in c]
  assert f"--coordinator={place} " in named
  assert f"--num_processes={spec['parallelism']} " in named


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_a_command_exists(command):
  assert main  # It defines the flags.
  names = re.findall(r"--([\w.]+)=", command)
  assert {"config", "workdir", "coordinator"} <= set(names)
  (file,) = re.findall(r"--config=(\S+)", command)
  config = runpy.run_path(str(ROOT / file))["get_config"]()
  for name in names:
    if name.startswith("config."):
      value = config
      for key in name.split(".")[1:]:
        value = value[key]
    else:
      assert name in flags.FLAGS, name


def test_jax_reads_the_variables_named():
  package = pathlib.Path(jax.__file__).parent / "_src"
  files = [package / "distributed.py", *(package / "clusters").glob("*.py")]
  source = "\n".join(file.read_text() for file in files)
  names = set(re.findall(NAMES, TEXT))
  assert len(names) > 15
  assert {name for name in names if name not in source} == set()
