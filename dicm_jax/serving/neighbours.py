"""First vectors of new ids: those of ads whose pictures look alike.

Nobody has clicked a new ad, so its id has learned nothing; its picture has
neighbours among ads that were clicked.
"""

from jaxtyping import Float
import numpy as np

from dicm_jax.serving.numpy_layers import unit

NEIGHBOURS = 10


def id_vectors(
  pictures: Float[np.ndarray, "n E"],
  known: Float[np.ndarray, "m E"],
  ids: Float[np.ndarray, "m D"],
  count: int = NEIGHBOURS,
) -> Float[np.ndarray, "n D"]:
  """The mean of the nearest known ads' id vectors, weighted by similarity.

  Nearness is the cosine of image vectors less their mean; a negative one has
  no weight.

  Args:
    pictures: image vectors of the new ads.
    known: image vectors of ads that training has seen, at least one.
    ids: their id vectors.
    count: neighbours of an ad, at most.

  >>> known = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
  >>> ids = np.array([[2.0], [4.0], [9.0]])
  >>> id_vectors(np.array([[3.0, 3.0]]), known, ids, 2).round(3).tolist()
  [[3.0]]
  """
  centre = known.mean(axis=0)
  near = unit(pictures - centre) @ unit(known - centre).T
  count = min(count, len(known))
  nearest = np.argpartition(-near, count - 1, axis=1)[:, :count]
  weight = np.maximum(np.take_along_axis(near, nearest, axis=1), 0) + 1e-6
  weight /= weight.sum(axis=1, keepdims=True)
  return np.einsum("nk,nkd->nd", weight, ids[nearest]).astype(ids.dtype)
