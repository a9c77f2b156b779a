"""The shape of a CTR network, as a config file gives it."""

from collections.abc import Iterable
import dataclasses

from dicm_jax import errors
from dicm_jax.model import aggregators, attention, layers, structures

IMAGES = ("both", "ad", "behaviour", "none")
IMAGE_NETS = ("shared", "separate")
FROZEN_HEADS = ("stored", "whitened")
TRAINING = ("apart", "joint")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Shape of the network; the paper's values in section 4.1."""

  name: str
  """The base net, a key of nets.NETS."""
  images: str
  """Which image fields join the ID fields: both, ad, behaviour or none."""
  aggregator: str
  """How behaviour image vectors are joined, one of aggregators.names."""
  normalize: str
  """How attention weights are scaled, a key of attention.NORMALIZE."""
  id_width: int
  """Width of an ID embedding (paper: 12)."""
  image_widths: tuple[int, ...]
  """Widths of the trainable image layers (paper: 256, 64, 12); none of them
  where the frozen head is all that owners return. Titles: the last alone."""
  frozen_head: str
  """What the second, frozen head is: whitened, principal components of the
  features, or stored, the features themselves at length 1."""
  frozen_width: int
  """Numbers of the frozen head that owners return beside the trained ones; 0:
  none (paper). All of the features where they are stored."""
  image_nets: str
  """shared by ad and behaviour images (paper), or separate."""
  hidden_widths: tuple[int, ...]
  """Hidden widths of the CTR MLP (paper: 200, 80)."""
  outputs: int
  """2: a softmax over no click and click (paper); 1: one logit."""
  activation: str
  """Between dense layers, a key of layers.ACTIVATIONS (paper: prelu)."""
  output_activation: str
  """After the last layer of image layers and MLP, a key of layers.OUTPUTS
  (paper: linear)."""
  structure: str
  """How the unified net's module compares two embeddings, a key of
  structures.STRUCTURES."""
  training: str
  """Whether the unified net's module learns jointly with the LR or apart."""

  def __post_init__(self):
    self._check_name("images", IMAGES)
    self._check_name("aggregator", aggregators.names())
    self._check_name("normalize", attention.NORMALIZE)
    self._check_name("frozen_head", FROZEN_HEADS)
    self._check_name("image_nets", IMAGE_NETS)
    self._check_name("activation", layers.ACTIVATIONS)
    self._check_name("output_activation", layers.OUTPUTS)
    self._check_name("structure", structures.STRUCTURES)
    self._check_name("training", TRAINING)
    if self.outputs not in (1, 2):
      raise errors.InputError(
        f"model.outputs: expected 1 or 2, found {self.outputs}"
      )
    self._check_image_widths()
    if min(self.hidden_widths, default=1) < 1:
      raise errors.InputError(
        f"model.hidden_widths: expected widths >= 1, found {self.hidden_widths}"
      )
    self._check_frozen_head()

  def _check_name(self, key: str, known: Iterable[str]) -> None:
    found = getattr(self, key)
    if found not in known:
      raise errors.unknown_name(f"model.{key}", found, known)

  def _check_image_widths(self) -> None:
    none = not self.image_widths and not self.frozen_width
    if none or min(self.image_widths, default=1) < 1:
      raise errors.InputError(
        "model.image_widths: expected widths >= 1, at least one where "
        f"model.frozen_width is 0, found {self.image_widths}"
      )

  def _check_frozen_head(self) -> None:
    if self.frozen_width < 0:
      raise errors.InputError(
        f"model.frozen_width: expected >= 0, found {self.frozen_width}"
      )
    if self.aggregator == "simtier" and not self.frozen_width:
      raise errors.InputError(
        "model.frozen_width: expected > 0 with model.aggregator='simtier', "
        "which compares the frozen head's vectors; found 0"
      )

  @property
  def sees_ad(self) -> bool:
    return self.images in ("both", "ad")

  @property
  def sees_behaviours(self) -> bool:
    return self.images in ("both", "behaviour")

  @property
  def stored(self) -> bool:
    """Whether the frozen head is the features themselves."""
    return self.frozen_width > 0 and self.frozen_head == "stored"

  @property
  def separate(self) -> bool:
    return self.image_nets == "separate"

  @property
  def image_width(self) -> int:
    """D, trained numbers of an image as the net uses it."""
    return self.image_widths[-1] if self.image_widths else 0

  @property
  def trained_width(self) -> int:
    """Trained numbers that an owner returns for an image."""
    return self.image_width * (2 if self.separate else 1)

  @property
  def image_vector(self) -> int:
    """All numbers that an owner returns for an image, the trained first."""
    return self.trained_width + self.frozen_width
