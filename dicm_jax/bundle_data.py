"""The data set that a bundle's run was trained on."""

from dicm_jax import config, errors, experiment
from dicm_jax.data import click_log
from dicm_jax.serving import bundle as bundle_lib


def of(bundle: bundle_lib.Bundle) -> click_log.Dataset:
  """Reads it from where the run had it.

  Raises:
    InputError: it cannot be read, or has changed since.
  """
  path = bundle.manifest["config"]["data"]["path"]
  data = experiment.load_data(config.Data(path=path))
  expected = bundle.manifest["data_digest"]
  if data.digest != expected:
    raise errors.InputError(
      f"{bundle.folder}: was trained on data {expected[:8]}, found "
      f"{data.digest[:8]} in {path or 'the built-in sample'}"
    )
  return data
