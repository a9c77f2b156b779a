"""Checks of a schema's values; mistakes are named with their place."""

from dicm_jax import errors


def one_of(where: str, value: str, known: tuple[str, ...]) -> None:
  if value not in known:
    raise errors.unknown_name(where, value, known)


def between(where: str, value: int | float, least: int, most: int) -> None:
  if not value >= least:
    raise errors.InputError(f"{where}: expected >= {least}, found {value}")
  if not value <= most:
    raise errors.InputError(f"{where}: expected <= {most:,}, found {value}")


def text(where: str, value: str) -> None:
  if not value:
    raise errors.InputError(f'{where}: expected a text, found ""')
