"""The page that says what an exported model is, made of its manifest."""

from collections.abc import Iterator, Mapping
from typing import Any

_FIGURES = (
  ("auc", "AUC"),
  ("gauc", "GAUC, over users"),
  ("auc_cold", "AUC, ads whose picture training never saw"),
  ("logloss", "log loss, nats"),
  ("calibration", "clicks predicted per click"),
  ("bayes_auc", "AUC of the true probabilities"),
)


def text(manifest: Mapping[str, Any]) -> str:
  """The card as Markdown.

  Args:
    manifest: of the bundle, with `figures` and `scored`.
  """
  return "\n".join(_lines(manifest)) + "\n"


def _lines(manifest: Mapping[str, Any]) -> Iterator[str]:
  model, encoder = manifest["config"]["model"], manifest["encoder"]
  yield f"# Model card: {model['name']}, step {manifest['step']}"
  yield ""
  yield _what(model)
  yield ""
  yield f"- Exported by dicm_jax {manifest['dicm_jax']}, JAX {manifest['jax']}"
  yield f"- Config digest {manifest['config_digest']}"
  if model["images"] != "none":
    yield (
      f"- Content: {encoder['mode']} by {encoder['name']}, digest "
      f"{encoder['digest']}"
    )
    yield f"- Weights: {manifest['weights_notice']}"
  yield ""
  yield from _data(manifest)
  yield from _figures(manifest)
  yield from _limits(manifest)
  yield "## To score"
  yield ""
  yield "    python -m dicm_jax.serve --export=FOLDER"
  yield "    curl -H 'content-type: application/json' \\"
  yield "      --data @FOLDER/example_request.json localhost:8000/score"


def _what(model: Mapping[str, Any]) -> str:
  sees = {
    "both": "ids, the ad's picture and the pictures that the user clicked",
    "ad": "ids and the ad's picture",
    "behaviour": "ids and the pictures that the user clicked",
    "none": "ids alone",
  }[model["images"]]
  joined = ""
  if model["images"] in ("both", "behaviour"):
    joined = f", joined by `{model['aggregator']}`"
  return (
    "Predicts the probability that a user clicks an ad shown to them, from "
    f"{sees}{joined}. Base net: `{model['name']}`."
  )


def _data(manifest: Mapping[str, Any]) -> Iterator[str]:
  path = manifest["config"]["data"]["path"]
  yield "## Data"
  yield ""
  name = "a prepared data set" if path else "the built-in sample"
  yield f"Trained and tested on {name}, digest {manifest['data_digest']}."
  if manifest["data_notice"]:
    yield ""
    yield f"**{manifest['data_notice']}**"
  yield ""
  yield "| split | impressions | page views |"
  yield "|---|---|---|"
  for split, counts in manifest["splits"].items():
    yield f"| {split} | {counts['samples']} | {counts['page_views']} |"
  yield ""


def _figures(manifest: Mapping[str, Any]) -> Iterator[str]:
  figures = manifest["figures"]
  yield "## Figures"
  yield ""
  yield "On the test split, with 95 % bootstrap intervals over users."
  yield ""
  yield "| figure | value | interval |"
  yield "|---|---|---|"
  for key, name in _FIGURES:
    if figures.get(key) is None:
      continue
    low, high = figures.get(f"{key}_low"), figures.get(f"{key}_high")
    span = "" if low is None else f"{low:.4f} to {high:.4f}"
    yield f"| {name} | {figures[key]:.4f} | {span} |"
  yield ""
  scored, dtype = manifest["scored"], manifest["dtype"]
  lost, most = scored["auc_lost"], scored["largest_difference"]
  cost = "no AUC can be told" if lost is None else f"AUC lost: {lost:.6f}"
  yield (
    f"These are the run's. The bundle holds vectors as {dtype}: {cost}, the "
    f"largest difference of a probability {most:.2g}."
  )
  yield ""


def _limits(manifest: Mapping[str, Any]) -> Iterator[str]:
  yield "## Limits"
  yield ""
  if "simulated" in manifest["data_notice"]:
    yield "- The clicks are simulated: it tells nothing of real users."
  if "RANDOM" in manifest["weights_notice"]:
    yield "- The picture encoder has random weights."
  yield (
    "- It learned from what was shown and clicked, so it repeats the bias of "
    "what chose that."
  )
  yield (
    "- Ids that training never met count as unknown. Of pictures it knows "
    "those of `images.parquet`."
  )
  yield ""
