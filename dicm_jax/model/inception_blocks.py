"""The tables of Inception v3: its blocks, branch by branch.

Architecture: Szegedy et al. 2015, https://arxiv.org/abs/1512.00567, table 1, as
both published implementations have it. Names are torchvision's
(torchvision/models/inception.py); keras.applications makes its layers in the
same order (keras/src/applications/inception_v3.py).
"""

from collections.abc import Iterator

from dicm_jax.model import mixed
from dicm_jax.model.mixed import Block, Conv

WIDTH = 2048
"""Channels of the last block."""
AUXILIARY_INPUTS = 768
"""Channels of Mixed_6e, which the auxiliary classifier sees."""
AUXILIARY_WIDTH = 768
"""Numbers that it makes of them."""


def _35x35(pooled: int) -> Block:
  """Figure 5, with one 5 x 5 left."""
  return (
    (Conv("branch1x1", 64),),
    (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
    (
      Conv("branch3x3dbl_1", 64),
      Conv("branch3x3dbl_2", 96, (3, 3)),
      Conv("branch3x3dbl_3", 96, (3, 3)),
    ),
    ("average", Conv("branch_pool", pooled)),
  )


def _17x17(inner: int) -> Block:
  """Figure 6: 7 x 7 in rows and columns."""
  return (
    (Conv("branch1x1", 192),),
    (
      Conv("branch7x7_1", inner),
      Conv("branch7x7_2", inner, (1, 7)),
      Conv("branch7x7_3", 192, (7, 1)),
    ),
    (
      Conv("branch7x7dbl_1", inner),
      Conv("branch7x7dbl_2", inner, (7, 1)),
      Conv("branch7x7dbl_3", inner, (1, 7)),
      Conv("branch7x7dbl_4", inner, (7, 1)),
      Conv("branch7x7dbl_5", 192, (1, 7)),
    ),
    ("average", Conv("branch_pool", 192)),
  )


def _beside(name: str, outputs: int, ends: str) -> tuple[Conv, Conv]:
  """A row and a column that see the same."""
  row, column = ends.split()
  return (
    Conv(name + row, outputs, (1, 3)),
    Conv(name + column, outputs, (3, 1)),
  )


# Figure 7.
_8X8: Block = (
  (Conv("branch1x1", 320),),
  (Conv("branch3x3_1", 384), _beside("branch3x3_", 384, "2a 2b")),
  (
    Conv("branch3x3dbl_1", 448),
    Conv("branch3x3dbl_2", 384, (3, 3)),
    _beside("branch3x3dbl_", 384, "3a 3b"),
  ),
  ("average", Conv("branch_pool", 192)),
)

BLOCKS: dict[str, Block] = {
  "stem": (
    (
      Conv("Conv2d_1a_3x3", 32, (3, 3), 2, "VALID"),
      Conv("Conv2d_2a_3x3", 32, (3, 3), 1, "VALID"),
      Conv("Conv2d_2b_3x3", 64, (3, 3)),
      "max",
      Conv("Conv2d_3b_1x1", 80),
      Conv("Conv2d_4a_3x3", 192, (3, 3), 1, "VALID"),
      "max",
    ),
  ),
  "Mixed_5b": _35x35(32),
  "Mixed_5c": _35x35(64),
  "Mixed_5d": _35x35(64),
  # Figure 10: to half the side.
  "Mixed_6a": (
    (Conv("branch3x3", 384, (3, 3), 2, "VALID"),),
    (
      Conv("branch3x3dbl_1", 64),
      Conv("branch3x3dbl_2", 96, (3, 3)),
      Conv("branch3x3dbl_3", 96, (3, 3), 2, "VALID"),
    ),
    ("max",),
  ),
  "Mixed_6b": _17x17(128),
  "Mixed_6c": _17x17(160),
  "Mixed_6d": _17x17(160),
  "Mixed_6e": _17x17(192),
  "Mixed_7a": (
    (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, (3, 3), 2, "VALID")),
    (
      Conv("branch7x7x3_1", 192),
      Conv("branch7x7x3_2", 192, (1, 7)),
      Conv("branch7x7x3_3", 192, (7, 1)),
      Conv("branch7x7x3_4", 192, (3, 3), 2, "VALID"),
    ),
    ("max",),
  ),
  "Mixed_7b": _8X8,
  "Mixed_7c": _8X8,
}

AUXILIARY: Block = (
  (Conv("conv0", 128), Conv("conv1", AUXILIARY_WIDTH, (5, 5), 1, "VALID")),
)
"""Figure 8, behind a 5 x 5 mean of each third pixel of Mixed_6e."""


def blocks() -> Iterator[tuple[str, Block, int]]:
  """Yields name, branches and input channels of each block, bottom up."""
  channels = 3
  for name, block in BLOCKS.items():
    yield name, block, channels
    channels = mixed.width(block, channels)
