"""What makes features of a config's content, by shapes: no weights are read."""

from collections.abc import Callable
import dataclasses
import functools
import pathlib

from flax import nnx
import jax
from jaxtyping import PyTree

from dicm_jax import config as config_lib
from dicm_jax import errors
from dicm_jax.data import feature_files
from dicm_jax.model import backbone, encoder_file


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Encoder:
  """What a plan must know of an encoder."""

  width: int
  """F, numbers of an image's frozen features, or of a title's words."""
  image_size: int
  """Side of the pictures in pixels; 0: there are none."""
  params: PyTree
  """Shapes of its parameters."""
  apply: Callable[[PyTree, jax.Array], jax.Array] | None


def of_config(config: config_lib.Config, width: int = 0) -> Encoder:
  """The encoder that a config names.

  Args:
    config: of the run.
    width: F where vectors were made elsewhere; 0: unknown.

  Raises:
    InputError: there is no such encoder or cut, or the width is unknown.
  """
  image = config.image
  if image.mode == "titles":  # Its layers take them as they are.
    length = config.text.length
    return Encoder(width=length, image_size=0, params=None, apply=None)
  if image.backbone == feature_files.PRECOMPUTED:
    if not width:
      raise errors.InputError(
        "image.backbone='precomputed': expected --feature_width too, the "
        "numbers of a vector; found none"
      )
    return Encoder(width=width, image_size=0, params=None, apply=None)
  if image.backbone == backbone.TRAINED:
    made = backbone.trained(*encoder_file.read(pathlib.Path(image.weights)))
    return Encoder(
      width=made.width,
      image_size=made.image_size,
      params=jax.eval_shape(lambda: made.params),
      apply=made.apply,
    )
  in_step = image.mode == "pixels"
  dtype = image.dtype if in_step else "float32"
  return _published(image.backbone, image.cut, dtype)


def _published(name: str, cut: str, dtype: str) -> Encoder:
  if name not in backbone.BACKBONES:
    known = (*backbone.BACKBONES, backbone.TRAINED, feature_files.PRECOMPUTED)
    raise errors.unknown_name("image.backbone", name, known)
  spec = backbone.BACKBONES[name]
  part, size = spec.cuts[backbone.cut_of(name, cut)], spec.image_size
  options = next(iter(spec.by_layout.values()), {})
  build = functools.partial(
    part.frozen, image_size=size, dtype=dtype, seed=0, **options
  )
  definition, params = nnx.split(nnx.eval_shape(build))
  return Encoder(
    width=part.width(size),
    image_size=size,
    params=nnx.to_pure_dict(params),
    apply=lambda params, images: nnx.merge(definition, params)(images),
  )
