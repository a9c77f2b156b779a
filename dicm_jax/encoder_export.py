"""A frozen image encoder as an artifact of `jax.export`, for any pictures."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from dicm_jax import content_kinds, net_export
from dicm_jax.data import images
from dicm_jax.model import backbone as backbone_lib
from dicm_jax.serving import bundle as bundle_lib


def backbone_of(kind: content_kinds.Kind) -> backbone_lib.Backbone | None:
  """What sees the pictures of a kind of content; None: nothing of ours."""
  if isinstance(kind, content_kinds.Features):
    return kind.backbone
  return kind.in_step


def about(backbone: backbone_lib.Backbone | None) -> dict[str, Any]:
  """What the manifest says of how new pictures are prepared."""
  if backbone is None:
    return {
      "absent": "no weights of ours see this model's content: its vectors were "
      "made elsewhere, or it reads titles"
    }
  size = backbone.image_size
  return {
    "file": bundle_lib.ENCODER,
    "size": size,
    "input": f"uint8 [pictures, {size}, {size}, 3], red, green, blue",
    "fit": "upright by EXIF, laid over white, all of it squeezed into the "
    "square, bicubic; colours are scaled by the encoder",
    "decoding": images.VERSION,
  }


def serialised(backbone: backbone_lib.Backbone) -> bytes:
  """The encoder with its weights, as a flatbuffer.

  Returns:
    What `jax.export.deserialize` makes a function of: uint8
    [pictures, size, size, 3] in, float32 [pictures, width] out, for any number
    of pictures.
  """
  params = jax.device_get(backbone.params)

  def encode(
    pictures: UInt8[Array, "K H W 3"],
  ) -> Float[Array, "K F"]:
    return backbone.apply(jax.tree.map(jnp.asarray, params), pictures)

  size = backbone.image_size
  shape = jax.export.symbolic_shape(f"pictures,{size},{size},3")
  made = jax.export.export(jax.jit(encode), platforms=net_export.PLATFORMS)(
    jax.ShapeDtypeStruct(shape, "uint8")
  )
  return bytes(made.serialize())
