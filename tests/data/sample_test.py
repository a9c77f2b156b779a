"""The built-in sample keeps its promises, for users of any seed."""

import dataclasses
import shutil

import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.data import click_log, sample
from dicm_jax.data.simulator import appearance, click_model


@pytest.fixture(scope="module")
def catalogue():
  return sample.load_catalogue()


@pytest.fixture(scope="module")
def made(catalogue):
  return sample.generate(seed=0, catalogue=catalogue)


def leaves(value):
  """All arrays and plain values inside dataclasses, tuples and dicts."""
  if dataclasses.is_dataclass(value):
    value = [getattr(value, f.name) for f in dataclasses.fields(value)]
  if isinstance(value, dict):
    value = list(value.items())
  if isinstance(value, (list, tuple)):
    return [leaf for part in value for leaf in leaves(part)]
  return [value]


def same(one, other):
  pairs = zip(leaves(one), leaves(other), strict=True)
  return all(np.array_equal(a, b) for a, b in pairs)


def test_the_seed_fixes_every_bit(catalogue):
  first = sample.generate(1, num_users=30)
  again = sample.generate(1, num_users=30, catalogue=catalogue)
  other = sample.generate(2, num_users=30, catalogue=catalogue)
  assert same(first, again)
  assert not same(first, other)


def test_sample_is_large_enough_for_tight_estimates(made):
  train, test = made.dataset.train, made.dataset.test
  assert train.num_samples + test.num_samples >= 200_000
  assert 10_000 <= test.num_samples <= 20_000
  assert 0.15 <= train.label.mean() <= 0.35


@pytest.mark.parametrize("split", ["train", "test"])
def test_groups_ascend_and_rows_lie_within_their_features(made, split):
  log = getattr(made.dataset, split)
  assert np.array_equal(np.unique(log.group), np.arange(log.num_groups))
  assert (np.diff(log.group) >= 0).all()
  for feature in made.dataset.features:
    if feature.side == "user":
      jagged = log.user_ids[feature.name]
      assert len(jagged.offsets) == log.num_groups + 1
      rows = jagged.values
    else:
      rows = log.ad_ids[feature.name]
      assert len(rows) == log.num_samples
    assert rows.min() >= 0
    assert rows.max() < feature.rows


def test_page_shows_no_photograph_twice(made):
  log = made.dataset.train
  pairs = np.stack([log.group, log.ad_image])
  assert np.unique(pairs, axis=1).shape[1] == log.num_samples


def clicks_by_user(made):
  """(day, image) of every click of both splits, in order, by user."""
  clicks = {}
  for log, days in (
    (made.dataset.train, made.truth.train_day),
    (made.dataset.test, made.truth.test_day),
  ):
    for i in np.flatnonzero(log.label):
      group = log.group[i]
      found = clicks.setdefault(int(log.user[group]), [])
      found.append((days[group], log.ad_image[i]))
  return clicks


def test_histories_hold_the_users_clicks_of_earlier_days_only(catalogue):
  # A small maximum, so that cutting is tested too.
  made = sample.generate(
    seed=0, num_users=40, max_history=12, catalogue=catalogue
  )
  clicks = clicks_by_user(made)
  cut = 0
  for log, days in (
    (made.dataset.train, made.truth.train_day),
    (made.dataset.test, made.truth.test_day),
  ):
    offsets = log.behaviour_images.offsets
    for g, (user, day) in enumerate(zip(log.user, days, strict=True)):
      past = [image for d, image in clicks.get(int(user), []) if d < day]
      found = log.behaviour_images.values[offsets[g] : offsets[g + 1]]
      assert found.tolist() == past[-12:]
      cut += len(past) - len(found)
  assert made.behaviours_cut == cut > 0


def test_test_split_is_the_last_day(made):
  assert (made.truth.test_day == 19).all()
  assert made.truth.train_day.max() == 18


def test_each_group_has_the_time_of_its_day(made):
  day_ms = 24 * 60 * 60 * 1000
  for log, day in (
    (made.dataset.train, made.truth.train_day),
    (made.dataset.test, made.truth.test_day),
  ):
    assert np.array_equal(log.time, day * day_ms)


@pytest.mark.parametrize("seed", [0, 3])
def test_a_fifth_of_the_test_impressions_is_cold(catalogue, seed):
  dataset = sample.generate(seed, catalogue=catalogue).dataset
  cold = click_log.cold_samples(dataset.train, dataset.test)
  assert 0.18 <= cold.mean() <= 0.22


def test_cold_photographs_have_the_unknown_id_and_seen_ones_their_own(made):
  train, test = made.dataset.train, made.dataset.test
  cold = click_log.cold_samples(train, test)
  assert np.array_equal(test.ad_ids["ad_image_id"] == 0, cold)
  assert (train.ad_ids["ad_image_id"] > 0).all()
  pairs = np.stack([train.ad_image, train.ad_ids["ad_image_id"]])
  distinct = np.unique(pairs, axis=1)
  assert distinct.shape[1] == len(np.unique(distinct[0]))
  assert distinct.shape[1] == len(np.unique(distinct[1]))


def test_ad_and_behaviour_ids_share_one_vocabulary(made):
  train = made.dataset.train
  id_of_image = np.zeros(len(made.dataset.image_names), int)
  id_of_image[train.ad_image] = train.ad_ids["ad_image_id"]
  behaviours = train.user_ids["behaviour_image_id"].values
  assert np.array_equal(behaviours, id_of_image[train.behaviour_images.values])


def test_users_absent_from_training_are_unknown(catalogue):
  # Few users and days: some come on the last day for the first time.
  dataset = sample.generate(
    seed=0, num_users=60, num_days=3, catalogue=catalogue
  ).dataset
  test = dataset.test
  known = np.isin(test.user, dataset.train.user)
  assert not known.all()
  assert np.array_equal(test.user_ids["user_id"].values > 0, known)


def test_labels_agree_with_the_true_probabilities(made):
  label = np.concatenate([made.dataset.train.label, made.dataset.test.label])
  truth = np.concatenate(
    [made.dataset.train.true_probability, made.dataset.test.true_probability]
  )
  decile = np.searchsorted(np.quantile(truth, np.arange(0.1, 1, 0.1)), truth)
  for d in range(10):
    rows = decile == d
    error = np.sqrt((truth[rows] * (1 - truth[rows])).sum())
    # 4 standard errors: a right simulator fails one run in a thousand.
    assert abs(label[rows].sum() - truth[rows].sum()) < 4 * error


def test_true_probability_is_the_click_models_but_for_the_noise(made):
  truth, test = made.truth, made.dataset.test
  logit = click_model.click_logit(
    truth.parameters,
    attributes=truth.attributes,
    category=truth.category,
    user=test.user[test.group],
    image=test.ad_image,
    place=truth.test_place,
  )
  p = test.true_probability
  noise = np.log(p / (1 - p)) - logit
  # The standard error of both over 16 000 draws is 1 % of the scale.
  assert abs(noise.mean()) < 0.05 * truth.scales.noise
  assert abs(noise.std() / truth.scales.noise - 1) < 0.05


def test_photographs_fit_into_the_package(made):
  files = [path for path in sample.FOLDER.iterdir() if path.is_file()]
  assert sum(path.stat().st_size for path in files) <= 8_000_000
  names = {path.name for path in files if path.suffix == ".jpg"}
  assert names == set(made.dataset.image_names)
  assert len(made.dataset.image_bytes) == len(names)
  assert (sample.FOLDER / "LICENSE").read_text().startswith("Creative Commons")


def test_sample_says_that_its_clicks_are_simulated(made):
  assert "simulated" in made.dataset.notice
  assert made.truth.attributes.shape[1] == len(appearance.ATTRIBUTES)


def shop(folder):
  """A folder of two photographs of the package."""
  for name in ("0001.jpg", "0003.jpg"):
    shutil.copy(sample.FOLDER / name, folder)
  (folder / "images.csv").write_text(
    "image,category\n0001.jpg,Hat\n0003.jpg,Dress\n"
  )
  return folder


def test_catalogue_of_another_folder(tmp_path):
  found = sample.load_catalogue(shop(tmp_path))
  assert found.names == ("0001.jpg", "0003.jpg")
  assert found.category_names == ("Dress", "Hat")
  assert found.category.tolist() == [1, 0]


def test_photograph_cut_short_is_named(tmp_path):
  file = shop(tmp_path) / "0003.jpg"
  file.write_bytes(file.read_bytes()[:2500])
  with pytest.raises(
    errors.InputError, match=rf"^{file}: damaged or cut short"
  ):
    sample.load_catalogue(tmp_path)


@pytest.mark.parametrize("name", ["0001.jpg", "images.csv"])
def test_missing_file_is_named(tmp_path, name):
  file = shop(tmp_path) / name
  file.unlink()
  with pytest.raises(errors.InputError, match=rf"^{file}: .*No such file"):
    sample.load_catalogue(tmp_path)


def test_digest_tells_samples_apart(made, catalogue):
  again = sample.generate(seed=0, catalogue=catalogue).dataset
  assert again.digest == made.dataset.digest
  pictures = (catalogue.pictures[0] + b" ", *catalogue.pictures[1:])
  touched = dataclasses.replace(catalogue, pictures=pictures)
  for other in (
    sample.generate(seed=1, catalogue=catalogue),
    sample.generate(seed=0, catalogue=touched),
  ):
    assert other.dataset.digest != made.dataset.digest


def test_numbers_out_of_range_are_refused():
  with pytest.raises(ValueError, match="num_days=2"):
    sample.generate(num_days=2)


def test_every_page_view_has_a_query_and_every_photograph_a_title(made):
  data = made.dataset
  assert len(data.titles) == len(data.image_names)
  for log in (data.train, data.test):
    assert log.query.shape == (log.num_groups,)
    assert log.query.min() >= 0 and log.query.max() < len(data.queries)


def test_items_that_share_words_with_the_query_are_clicked_more_often(made):
  data, log = made.dataset, made.dataset.test
  query = [set(data.queries[i].split()) for i in log.query[log.group]]
  title = [set(data.titles[i].split()) for i in log.ad_image]
  shared = np.array([len(q & t) for q, t in zip(query, title, strict=True)])
  rates = [log.label[shared == n].mean() for n in range(3)]
  assert rates[0] + 0.05 < rates[1] < rates[2] - 0.05
