// What the user clicked before, and the attention that an ad pays to it.

import { at, bar, largest, make, signed } from "./elements.js";
import { pictureButton } from "./pictures.js";
import { ago, chosenAd, state, titleOf } from "./shared.js";

/** Of each channel of attention: in short, and what asks. */
const CHANNELS = {
  by_image: ["pic", "by the ad's picture"],
  by_ids: ["ids", "by the ad's ids"],
};

export function drawPast() {
  const { behaviours, attention } = state.page;
  const rows = attention.map(({ channel, weights }) =>
    [channel, weights[state.ad]]);
  const most = rows.map(([, weights]) => largest(weights.map((w) => w ?? 0)));
  const shown = behaviours.map((picture, place) =>
    drawBehaviour(picture, place, rows, most));
  at("past").replaceChildren(...shown.reverse());
  at("past-note").replaceChildren(...pastNote(rows));
}

function drawBehaviour(picture, place, rows, most) {
  const made = make("li", {}, pictureButton(picture, ago(place)));
  if (!rows.length) return made;
  const shares = rows.map(([, weights], i) =>
    Math.abs(weights[place] ?? 0) / most[i]);
  const image = made.querySelector("img");
  const mean = shares.reduce((a, b) => a + b) / shares.length;
  if (image) image.style.opacity = 0.2 + 0.8 * mean;
  made.append(make("div", { className: "weights" },
    ...rows.map(([channel, weights], i) => drawWeight(
      channel, weights[place], most[i]))));
  return made;
}

function drawWeight(channel, weight, most) {
  const [short, long] = CHANNELS[channel] ?? [channel, channel];
  return make("div", { className: "weight" },
    make("span", {}, make("span", { "aria-hidden": "true" }, short),
      make("span", { className: "hidden" }, `weight ${long}: `)),
    weight === null ? make("span") : bar(weight, most, "first", true),
    make("span", { className: "number" },
      weight === null ? "not read" : signed(weight, 3).replace("0.", ".")));
}

function pastNote(rows) {
  if (!state.page.behaviours.length) {
    return ["This user has not clicked anything before."];
  }
  if (state.about.no_attention) {
    return [`No weights are drawn: ${state.about.no_attention}.`];
  }
  const channels = rows.map(([channel]) =>
    `${CHANNELS[channel]?.[0] ?? channel}: ${CHANNELS[channel]?.[1] ?? ""}`);
  const ad = chosenAd();
  return [
    `Newest first. Attention weights for ad #${ad.rank[0]} (${
      titleOf(ad.picture)}), ${channels.join("; ")}. Bars to the left are `
      + "negative; pale pictures hardly count.",
  ];
}
