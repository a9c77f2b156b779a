"""Click-through-rate models that see: DICM and its model server in JAX.

Dimensions, one letter one meaning, in every shape annotation:
  B  samples of a global batch            b  samples of one device
  G  groups (one user's page views that share a history)
  U  distinct rows one device asks for    K  distinct rows one owner serves
  L  behaviours of a group, padded        P  all (group, id) pairs of a field
  D  width of an embedding                F  width of the frozen features
  R  rows of a table                      H W C  height, width, channels
"""
