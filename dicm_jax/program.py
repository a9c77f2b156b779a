"""The fixed parts of a compiled step: networks, optimisers, routes, mesh."""

import dataclasses

from flax import nnx
from jax.sharding import Mesh
from jaxtyping import PyTree
import optax

from dicm_jax.model import backbone as backbone_lib
from dicm_jax.model import config as model_config
from dicm_jax.model import embed, nets
from dicm_jax.sharding import route


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Program:
  """What a step needs to know besides arrays."""

  mesh: Mesh
  id_route: route.Route
  image_route: route.Route
  model: model_config.ModelConfig
  net_def: nnx.GraphDef
  """The CTR network without its parameters."""
  embed_def: nnx.GraphDef
  """The owners' trainable layers without their parameters."""
  backbone: backbone_lib.Backbone | None
  """Frozen encoder of pixels; None where the table holds what the layers take:
  features or tokens."""
  image_chunk: int
  """Images an owner embeds at a time."""
  sparse: optax.GradientTransformation
  dense: optax.GradientTransformation

  def net(self, params: PyTree) -> nets.Net:
    return nnx.merge(self.net_def, params)

  def embed_layers(self, params: PyTree) -> embed.Layers:
    return nnx.merge(self.embed_def, params)
