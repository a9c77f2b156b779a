"""Explanations add up to the score, and speak of what the network reads."""

import dataclasses
import json

import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax import explain as command
from dicm_jax.serving import explain, logs, numpy_scorer, what_if
from tests.serving import bundles


def some_view(made):
  """A page view with a history and several ads."""
  past = made.log.behaviour_images.lengths
  ads = np.bincount(made.log.group)
  (fit,) = np.nonzero((past > 2) & (ads > 2))
  return logs.part(made.log, slice(int(fit[0]), int(fit[0]) + 1))


def assert_adds_up(found):
  moved = found.logit - found.baseline
  shared = sum(part.share for part in found.parts)
  assert abs(moved) > 1e-3
  # Within 1 %, as the paper advises, or where float32 ends.
  assert abs(shared - moved) <= max(0.01 * abs(moved), 1e-4)
  assert found.missed == pytest.approx(moved - shared, abs=1e-9)


def test_shares_add_up_to_the_score(made):
  view = some_view(made)
  scores = explain.logits(numpy_scorer.NumpyScorer(made.bundle)(view))
  for ad in (0, view.num_samples - 1):
    found = explain.explain(made.bundle, "numpy", view, ad)
    assert_adds_up(found)
    # Sums of float32 in another order.
    assert found.logit == pytest.approx(scores[ad], abs=1e-4)
    sizes = [abs(part.share) for part in found.parts]
    assert sizes == sorted(sizes, reverse=True)
    kinds = [part.kind for part in found.parts]
    assert kinds.count("behaviour") == len(view.behaviour_images.values)
    assert kinds.count("picture") == 1


def test_baseline_is_unknown_ids_and_mean_pictures(made):
  bundle, view = made.bundle, some_view(made)
  view = logs.shown(view, np.array([0]), view)
  images = np.repeat(bundle.images.mean(0)[None], len(bundle.images), axis=0)
  blank = dataclasses.replace(bundle, images=images)
  nothing = {name: np.zeros_like(rows) for name, rows in view.ad_ids.items()}
  unknown = dataclasses.replace(
    view,
    ad_ids=nothing,
    user_ids={
      name: lists._replace(values=np.zeros_like(lists.values))
      for name, lists in view.user_ids.items()
    },
    ad_lists={
      name: lists._replace(values=np.zeros_like(lists.values))
      for name, lists in view.ad_lists.items()
    },
  )
  (expected,) = explain.logits(numpy_scorer.NumpyScorer(blank)(unknown))
  found = explain.explain(bundle, "numpy", view, 0)
  assert found.baseline == pytest.approx(expected, abs=1e-4)


def test_what_makes_no_difference_has_no_share(made):
  view = some_view(made)
  bundle = made.bundle
  row = bundle.fields.layout.offsets["user_id"]
  ids = bundle.ids.copy()
  ids[row + view.user_ids["user_id"].values] = ids[row]  # As if unknown.
  same = dataclasses.replace(bundle, ids=ids)
  found = explain.explain(same, "numpy", view, 0)
  (share,) = [p.share for p in found.parts if p.field == "user_id"]
  assert share == pytest.approx(0, abs=1e-5)


def test_network_without_pictures_is_explained_by_ids(made, monkeypatch):
  view = some_view(made)
  fields = dataclasses.replace(
    made.bundle.fields, ad_images=False, behaviour_images=False
  )
  blind = dataclasses.replace(made.bundle, fields=fields)
  # The sum of all that it reads stands for a network.
  monkeypatch.setattr(
    what_if,
    "scorer",
    lambda bundle, _: (
      lambda log: (
        0.5 + 0.01 * bundle.ids[log.ad_ids["ad_id"] + offset(bundle)].sum(1)
      )
    ),
  )
  found = explain.explain(blind, "numpy", view, 0)
  assert {part.kind for part in found.parts} == {"id"}
  assert found.parts[0].field == "ad_id"
  assert found.parts[0].value == str(view.ad_ids["ad_id"][0])


def offset(bundle):
  return bundle.fields.layout.offsets["ad_id"]


def test_ad_that_is_not_there_is_refused(made):
  with pytest.raises(errors.InputError, match="ad: expected 0 to"):
    explain.explain(made.bundle, "numpy", some_view(made), 99)


def test_table_adds_up_too(made):
  text = command.run(made.bundle.folder, "", 0, 3, "auto")
  first, *parts, last = [float(line.split()[0]) for line in text.splitlines()]
  assert len(parts) == 5  # Three, the rest, and what is missed.
  # Four digits a line.
  assert first + sum(parts) == pytest.approx(last, abs=1e-3)


def test_wrong_request_of_the_command_names_the_file(made, tmp_path):
  path = tmp_path / "asked.json"
  with pytest.raises(errors.InputError, match=r"--request: .*asked\.json"):
    command.run(made.bundle.folder, str(path), 0, 3, "auto")
  path.write_text(json.dumps({"candidates": []}))
  with pytest.raises(errors.InputError, match="candidates: List should have"):
    command.run(made.bundle.folder, str(path), 0, 3, "auto")


@pytest.mark.slow
def test_artifact_explains_as_numpy_does(made):
  view = some_view(made)
  found = explain.explain(made.bundle, "artifact", view, 0)
  assert_adds_up(found)
  expected = explain.explain(made.bundle, "numpy", view, 0)
  by_name = {part[:4]: part.share for part in found.parts}
  for part in expected.parts:
    # Float32 sums in another order.
    assert by_name[part[:4]] == pytest.approx(part.share, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
  "options",
  [
    {"model__images": "none"},
    {"model__name": "din", "model__images": "none"},
    {"model__aggregator": "target_attention", "model__frozen_width": 6},
  ],
  ids=["ids", "din", "target_attention"],
)
def test_other_networks_add_up(options, tmp_path, monkeypatch):
  made = bundles.make(tmp_path, monkeypatch, **options)
  numpy = (
    made.bundle.model["name"] == "dicm" and "model__aggregator" not in options
  )
  engine = "numpy" if numpy else "artifact"
  assert_adds_up(explain.explain(made.bundle, engine, some_view(made), 0))
