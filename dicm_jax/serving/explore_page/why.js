// What drove the score of an ad.

import { fill } from "./asking.js";
import { at, bar, largest, make, number, signed } from "./elements.js";
import { pictureButton } from "./pictures.js";
import { ago, chosenAd, state, titleOf } from "./shared.js";

export function drawWhy() {
  const { view, ad } = state;
  fill(at("why"), "Looking for what drove this score …",
    `explain/${view}/${ad}`, drawParts);
}

const probability = (logit) => 1 / (1 + Math.exp(-logit));
const FEW = 10; // Parts that are shown at once.

function drawParts(found) {
  const ad = chosenAd();
  const picture = drawPicture(ad);
  const map = make("div"); // Of the picture's parts, once it is asked for.
  const most = largest(found.parts.map(({ share }) => share));
  return [
    make("div", { className: "why-top" },
      picture,
      make("div", {},
        make("p", {}, make("b", {}, `#${ad.rank[0]} ${titleOf(ad.picture)}`)),
        ...drawSum(found),
        askForMap(ad, picture, map))),
    map,
    make("h3", {}, "What each part adds"),
    drawList(found.parts.slice(0, FEW), most),
    ...drawRest(found, most),
  ];
}

function drawSum(found) {
  const moved = found.logit - found.baseline;
  const bold = (logit) => make("b", { className: "number" },
    number(probability(logit)));
  return [
    make("p", {}, `With unknown ids${
      state.about.sees_pictures ? " and mean pictures" : ""
    } the model would say `,
      bold(found.baseline), "; it says ", bold(found.logit), "."),
    make("p", { className: "note" },
      `That is ${signed(moved, 3)} in log-odds. Integrated gradients share `
      + `it out to the parts below, all but ${number(Math.abs(found.missed))}.`),
  ];
}

const drawList = (parts, most) => make("ol", { className: "parts" },
  ...parts.map((part) => drawPart(part, most)));

function drawRest(found, most) {
  const { others } = found, parts = found.parts.slice(FEW);
  if (!parts.length) return [];
  return [make("details", {},
    make("summary", {}, `${parts.length + others.count} smaller parts`),
    drawList(parts, most),
    make("p", { className: "note" }, others.count
      ? `${others.count} others together: ${signed(others.share, 3)}` : ""))];
}

function drawPart(part, most) {
  const text = {
    behaviour: () => `${titleOf(part.picture)}, ${ago(part.place)}`,
    picture: () => "the ad's picture",
    // Long names may be broken behind an underscore.
    id: () => `${part.field} = ${part.value}`.replaceAll("_", "_\u200b"),
  }[part.kind]();
  return make("li", {},
    part.picture === null ? make("span") : pictureButton(part.picture),
    make("span", {}, text), bar(part.share, most, "first", true),
    make("span", { className: "number" }, signed(part.share, 3)));
}

function drawPicture(ad) {
  if (ad.picture === null) {
    return make("p", { className: "note" }, "no picture");
  }
  return make("div", { className: "covered" }, make("img", {
    src: `/explore/pictures/${ad.picture}`, alt: titleOf(ad.picture),
  }));
}

/** A button that lays the map of its parts over the ad's picture. */
function askForMap(ad, picture, map) {
  if (!state.about.embeds || ad.picture === null) return null;
  const button = make("button", {
    className: "plain", type: "button",
    onclick: () => {
      button.remove();
      fill(map, "Covering one part after the other …",
        `occlusion/${state.view}/${ad.ad}`,
        ({ fall }) => drawMap(fall, picture));
    },
  }, "Which part of the picture?");
  return button;
}

function drawMap(fall, picture) {
  picture.append(overlay(fall));
  const swatch = (kind) => make("span", { className: `swatch ${kind}` });
  return [make("p", { className: "note" },
    "Covered by grey, a part marked ", swatch("first"), "lowers the score, and ",
    "one marked ", swatch("down"), "raises it: by up to ",
    `${number(largest(fall.flat()))} in log-odds.`)];
}

function overlay(fall) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const most = largest(fall.flat());
  svg.setAttribute("viewBox", `0 0 ${fall[0].length} ${fall.length}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "Map of the parts that drive the score");
  fall.forEach((row, y) => row.forEach((value, x) => {
    const cell = document.createElementNS(svg.namespaceURI, "rect");
    const given = {
      x, y, width: 1, height: 1,
      fill: value < 0 ? "#d97706" : "#1d5fa8",
      "fill-opacity": 0.65 * Math.abs(value) / most,
    };
    for (const [key, one] of Object.entries(given)) cell.setAttribute(key, one);
    svg.append(cell);
  }));
  return svg;
}
