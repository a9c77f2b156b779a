"""What each net computes, against loops in NumPy, and what nets refuse."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.model import embed, nets
from tests.model import hand_made
from tests.model.hand_made import FIELDS, GROUP

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
"""Sums of some ten float32 products in another order."""
NUM_FIELDS = {"none": (3, 3), "ad": (4, 3), "behaviour": (3, 4), "both": (4, 4)}
"""Ad fields and user fields of the FFM by `images`."""


def summed(vectors, lists, owner: int):
  found = hand_made.entries(lists, owner)
  return sum((w * vectors[row] for row, w in found), 0 * vectors[0])


def ads_of(ids, given, sample: int):
  """ID vectors of a sample's ad, one a field."""
  single = [ids[given.ad_ids[name][sample]] for name in FIELDS.ad]
  return single + [
    summed(ids, given.ad_lists[name], sample) for name in FIELDS.ad_lists
  ]


def users_of(ids, given, group: int):
  """Summed ID vectors of a group's user, one a field."""
  return [summed(ids, given.user_ids[name], group) for name in FIELDS.user]


def made(name: str, **overrides):
  """The net's config, the net, its vectors and its inputs, all in NumPy."""
  config = hand_made.config(name, **overrides)
  net = hand_made.net(config)
  given = hand_made.vectors(config), hand_made.inputs()
  (ids, pictures), inputs = jax.device_get(given)
  return config, net, ids, pictures, inputs


def run(method, *given) -> np.ndarray:
  """The result of one compiled call."""
  return jax.device_get(jax.jit(method)(*given))


def ffm_config(images: str):
  """Two numbers for each field of the other side."""
  width = 2 * max(NUM_FIELDS[images])
  return {"images": images, "id_width": 1 + width, "image_widths": (width,)}


def pairs_by_hand(ads, users, population, k: int):
  """Number i of a vector's parts of k is meant for the other side's field i."""

  def part(vector, field):
    return vector[field * k : (field + 1) * k]

  return sum(
    part(ad, j) @ (part(user, i) + population[j, i])
    for i, ad in enumerate(ads)
    for j, user in enumerate(users)
  )


def with_population(net):
  """Gives the net the tastes of a population, which begin at 0."""
  drawn = np.random.default_rng(5).normal(size=net.population[...].shape)
  net.population[...] = jnp.asarray(drawn, jnp.float32)
  return drawn.reshape(net.num_user, net.num_ad, -1)


@pytest.mark.parametrize("images", NUM_FIELDS)
def test_ffm_equals_a_loop_over_pairs_of_fields(images):
  config, net, ids, pictures, given = made("ffm", **ffm_config(images))
  population = with_population(net)
  found = run(net, ids, pictures, given)
  kernel = np.asarray(net.of_numbers.kernel[...])[:, 0]
  for sample, group in enumerate(GROUP):
    ads = ads_of(ids, given, sample)
    users = [
      total / max(len(hand_made.entries(given.user_ids[name], group)), 1)
      for name, total in zip(
        FIELDS.user, users_of(ids, given, group), strict=True
      )
    ]
    weights = sum(vector[0] for vector in ads + users)
    ads, users = [v[1:] for v in ads], [v[1:] for v in users]
    if config.sees_ad:
      ads.append(pictures[given.ad_image[sample]])
    if config.sees_behaviours:
      seen = summed(pictures, given.behaviours, group)
      users.append(seen / max(int(given.history_length[group]), 1))
    assert (len(ads), len(users)) == NUM_FIELDS[images]
    numbers = [*given.ad_dense[sample], *given.user_dense[group]]
    expected = (
      net.bias[...]
      + weights
      + pairs_by_hand(ads, users, population, k=2)
      + np.array(numbers) @ kernel
      + net.of_numbers.bias[...][0]
    )
    np.testing.assert_allclose(found[sample], expected, **CLOSE)


def test_ffm_products_equal_numbers_worked_out_on_paper():
  config = hand_made.config("ffm", id_width=4)  # A weight and 1 for each of 3.
  net = hand_made.net(config)
  net.population[...] = jnp.zeros(9)
  ads = jnp.array([[[1.0, 2, 3], [4, 5, 6], [0, 0, 0]]])
  users = jnp.array([[[1.0, 10, 0], [100, 0, 0], [0, 1000, 0]]])
  # Ad 0: 1 x 1 + 2 x 100 + 3 x 0; ad 1: 4 x 10 + 5 x 0 + 6 x 1000.
  assert net._products(ads, users).tolist() == [1 + 200 + 40 + 6000]


def test_ffm_gives_context_a_weight_and_no_pairs():
  config = hand_made.config("ffm", id_width=4)
  fields = FIELDS._replace(context=FIELDS.ad[:1])
  net = nets.make(config, fields=fields, rngs=nnx.Rngs(0))
  with_population(net)
  ids, pictures = hand_made.vectors(config)
  given, count = hand_made.inputs(), len(GROUP)
  # Rows that no other field has, one a sample.
  own = jnp.arange(len(ids), len(ids) + count)
  place = given.ad_ids | {FIELDS.ad[0]: own}
  given = given._replace(ad_ids=place)

  def logits(rows):
    return run(net, jnp.concatenate([ids, rows]), pictures, given)

  nothing = jnp.zeros((count, config.id_width))
  np.testing.assert_array_equal(
    logits(nothing.at[:, 1:].set(9.0)), logits(nothing)
  )
  gain = logits(nothing.at[:, 0].set(9.0)) - logits(nothing)
  np.testing.assert_allclose(gain, np.full(count, 9.0), **CLOSE)


@pytest.mark.parametrize("images", ["both", "none"])
def test_lr_equals_a_loop_over_ids(images):
  config, net, ids, pictures, given = made("lr", images=images, id_width=1)
  found = run(net, ids, pictures, given)
  kernel = np.asarray(net.of_numbers.kernel[...])[:, 0]
  for sample, group in enumerate(GROUP):
    vectors = ads_of(ids, given, sample) + users_of(ids, given, group)
    numbers = [*given.ad_dense[sample], *given.user_dense[group]]
    if config.sees_ad:
      numbers += [
        *pictures[given.ad_image[sample]],
        *summed(pictures, given.behaviours, group),
      ]
    expected = (
      net.bias[...]
      + sum(float(vector[0]) for vector in vectors)
      + np.array(numbers) @ kernel
      + net.of_numbers.bias[...][0]
    )
    np.testing.assert_allclose(found[sample], expected, **CLOSE)


def test_din_gives_empty_histories_zeros():
  _, net, ids, _, given = made("din")
  width = len(FIELDS.past) * ids.shape[1]
  clicks = np.ones((len(given.user_ids["clicked"].owner), width), np.float32)
  ads = np.ones((len(GROUP), width), np.float32)
  found = run(net.attention, clicks, ads, given.id_pairs)
  empty = np.array(hand_made.LENGTHS)[GROUP] == 0
  assert empty.sum() == 1
  assert (found[empty] == 0).all()
  assert (found[~empty] != 0).all()


def test_prerank_is_the_product_of_its_towers():
  _, net, ids, pictures, given = made("prerank", images="both")
  ads, users = run(net.towers, ids, pictures, given)
  assert ads.shape == (len(GROUP), net.WIDTH)
  assert users.shape == (len(hand_made.LENGTHS), net.WIDTH)
  expected = [ads[s] @ users[group] for s, group in enumerate(GROUP)]
  found = run(net, ids, pictures, given)
  np.testing.assert_allclose(found, expected, **CLOSE)


def test_prerank_towers_see_their_own_side_alone():
  _, net, ids, pictures, given = made("prerank", images="both")
  ads, users = run(net.towers, ids, pictures, given)
  other_ad = given._replace(
    ad_ids={name: rows[::-1] for name, rows in given.ad_ids.items()},
    ad_image=given.ad_image[::-1],
  )
  of_others, same = run(net.towers, ids, pictures, other_ad)
  np.testing.assert_array_equal(same, users)
  assert not np.allclose(of_others, ads)
  other_user = given._replace(user_dense=given.user_dense + 1)
  same, of_others = run(net.towers, ids, pictures, other_user)
  np.testing.assert_array_equal(same, ads)
  assert not np.allclose(of_others, users)


def assert_says(refused, *parts: str):
  """The message of an InputError has all the parts."""
  with pytest.raises(errors.InputError) as caught:
    refused()
  for part in parts:
    assert part in str(caught.value)


@pytest.mark.parametrize(
  ("name", "overrides", "says"),
  [
    ("dinn", {}, ("model.name", "'dinn'", "'din'", "known: dcnv2, dicm")),
    (
      "dcnv2",
      {"hidden_widths": ()},
      ("model.hidden_widths", "expected at least one", "found none"),
    ),
    (
      "din",
      {"output_activation": "relu"},
      ("model.output_activation", "expected linear", "found 'relu'"),
    ),
    (
      "prerank",
      {"aggregator": "attentive"},
      (
        "model.aggregator",
        "expected one of concat, max, mean, sum",
        "found 'attentive'",
      ),
    ),
    (
      "unified",
      {"images": "ad"},
      ("model.images", "expected both or none", "found 'ad'"),
    ),
    (
      "dicm",
      {"images": "both", "image_widths": (), "frozen_width": 5},
      ("model.image_widths", "expected at least one", "found none"),
    ),
  ],
)
def test_check_refuses_what_a_net_cannot_use(name, overrides, says):
  config = hand_made.config(name, **overrides)
  assert_says(lambda: nets.check(config), *says)
  assert_says(lambda: hand_made.net(config), *says)


@pytest.mark.parametrize("name", nets.NETS)
def test_check_accepts_what_goes_together(name):
  nets.check(hand_made.config(name))


def test_xdl_s_form_cuts_vectors_and_logits_off_at_zero():
  plain, cut = (
    hand_made.config("dicm", output_activation=output)
    for output in ("linear", "relu")
  )
  features = jnp.asarray(np.random.default_rng(0).normal(size=(9, 8)))
  for made in (
    lambda config: embed.image_layers(8, config, rngs=nnx.Rngs(0))(features),
    lambda config: hand_made.net(config)(
      *hand_made.vectors(config), hand_made.inputs()
    ),
  ):
    expected = np.maximum(made(plain), 0)
    assert 0 < np.mean(expected == 0) < 1
    np.testing.assert_array_equal(made(cut), expected)


def test_din_refuses_data_without_past_clicks():
  config = hand_made.config("din")
  fields = FIELDS._replace(past=())
  assert_says(
    lambda: nets.make(config, fields=fields, rngs=nnx.Rngs(0)),
    "model.name='din'",
    "expected a feature with history = true",
    "found none",
  )


@pytest.mark.parametrize(
  ("overrides", "says"),
  [
    # Three fields a side, and with pictures four.
    ({"id_width": 6}, ("model.id_width", "expected 1 + 3 k", "found 6")),
    ({"id_width": 1}, ("model.id_width", "expected 1 + 3 k", "found 1")),
    (
      {"id_width": 7, "images": "ad", "image_widths": (6,)},
      ("model.id_width", "expected 1 + 4 k", "found 7"),
    ),
    (
      {"id_width": 9, "images": "both", "image_widths": (9, 5)},
      ("model.image_widths", "expected the last", "= 8", "found 5"),
    ),
  ],
)
def test_ffm_refuses_widths_that_do_not_fit_its_fields(overrides, says):
  config = hand_made.config("ffm", **overrides)
  assert_says(lambda: hand_made.net(config), *says)
