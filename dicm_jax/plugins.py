"""Other packages' aggregators, backbones, data sets and optimisers.

A package that adds to our registries names the module that does so as an entry
point of the group `dicm_jax`; every command imports it before it begins.
"""

import importlib.metadata

from dicm_jax import errors

GROUP = "dicm_jax"


def load() -> None:
  """Imports what installed packages add.

  Raises:
    InputError: one of them fails.
  """
  for entry in importlib.metadata.entry_points(group=GROUP):
    try:
      entry.load()
    # Whatever it is, it is the other package's, and the user must know which.
    except Exception as e:
      raise errors.InputError(
        f"plugin {entry.name!r} ({entry.value}) cannot be loaded: {e!r}; "
        "mend or uninstall its package"
      ) from e
