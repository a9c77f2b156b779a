"""The parts of a step: named scopes of its code, found again in its HLO.

`jax.named_scope` puts a part's name on the path that each instruction carries
as its op_name. Where parts stand inside one another, the innermost counts.
"""

import re

ROUTING = "routing"
"""Grouping by owner, owner-level dedup, exchanges, their gathers and sums. XLA
reads the ID rows once for look-up and update, and names that by the update."""
FROZEN = "frozen"
"""The frozen encoder, and the frozen head of its features."""
LAYERS = "layers"
"""Trained layers of the content, forward and backward, and their reading of
what they take; of pairs the whole encoder with its loss."""
CTR_NET = "ctr_net"
"""CTR network and loss, forward and backward."""
SPARSE_UPDATE = "sparse_update"
"""The optimiser on the rows touched."""
DENSE_UPDATE = "dense_update"
"""Sum of the dense gradients over the devices, and their optimiser."""

PARTS = (
  ROUTING,
  FROZEN,
  LAYERS,
  CTR_NET,
  SPARSE_UPDATE,
  DENSE_UPDATE,
)

# Derivatives wrap a scope that lies in them: "transpose(jvp(layers))". A
# jitted function of such a name, "jit(layers)", is none.
_SCOPE = re.compile(rf"(?:^|/)(?:\w+(?<!jit)\()*({'|'.join(PARTS)})\)*(?=/|$)")


def of(op_name: str) -> str | None:
  """The part of an instruction, by its op_name; None: of none.

  >>> of("jit(step)/routing/while/body/transpose(jvp(layers))/dot_general")
  'layers'
  >>> of("jit(step)/routing/images.vectors/all_to_all")
  'routing'
  >>> of("jit(step)/jit(layers)/add") is None
  True
  """
  found = _SCOPE.findall(op_name)
  return found[-1] if found else None
