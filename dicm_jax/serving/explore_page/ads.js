// A page view: its ads, ranked, one of which is looked at.

import { fill, stop } from "./asking.js";
import { at, bar, loading, make, number } from "./elements.js";
import { drawOwn } from "./own.js";
import { drawPast } from "./past.js";
import { pictureButton } from "./pictures.js";
import { MODELS, modelName, scaleOf, state, titleOf } from "./shared.js";
import { markUser } from "./users.js";
import { drawWhy } from "./why.js";

let opening = null;

/** Shows a page view, and of its ads that one or the first. */
export function choose(view, ad = null) {
  state.view = view;
  state.page = null;
  markUser();
  location.replace(`#view=${view}`);
  for (const place of ["ads", "past", "why"]) stop(at(place));
  at("past-note").replaceChildren(loading("Loading …"));
  drawOwn();
  clearTimeout(opening); // Of an arrow key that is held down, the last counts.
  opening = setTimeout(() => open(view, ad), 80);
}

async function open(view, ad) {
  const user = state.views[view].user;
  await fill(at("ads"), `Scoring the ads of user ${user} …`, `views/${view}`,
    (page) => {
      state.page = page;
      state.ad = page.ads.some((one) => one.ad === ad) ? ad : page.ads[0].ad;
      return drawAds();
    });
  if (state.page?.view === view) chooseAd(state.ad);
  else if (state.view === view) stop(at("past-note")); // It has failed.
}

function drawAds() {
  const most = scaleOf(state.page);
  return state.page.ads.map((ad) => make("li", { id: `ad-${ad.ad}` },
    pictureButton(ad.picture),
    make("button", {
      className: "choose", type: "button", "aria-pressed": "false",
      onclick: () => chooseAd(ad.ad),
    }, adHead(ad), ...measures(ad, most)), toWhy()));
}

/** Leads to the explanation where it lies far below, as on a phone. */
function toWhy() {
  return make("button", {
    className: "plain to-why", type: "button",
    onclick: () => at("why-title").scrollIntoView({ block: "start" }),
  }, "Why this score?");
}

function adHead(ad) {
  const other = ad.rank[1] && ad.rank[1] !== ad.rank[0]
    ? make("span", { className: "tag" }, `#${ad.rank[1]} by model 2`) : null;
  return make("span", { className: "head" }, make("b", {}, `#${ad.rank[0]}`),
    make("span", {}, titleOf(ad.picture)),
    ad.label ? make("span", { className: "tag clicked" }, "clicked") : null,
    other);
}

function measures(ad, most) {
  const all = ad.predicted.map((p, i) => [MODELS[i], modelName(i), p]);
  const truth = ad.true_probability;
  if (truth !== null) all.push(["truth", "true", truth]);
  return all.map(([kind, name, p]) => make("span", { className: "measure" },
    bar(p, most, kind),
    make("span", { className: "number" },
      make("span", { className: "hidden" }, `${name}: `), number(p))));
}

function chooseAd(ad) {
  state.ad = ad;
  location.replace(`#view=${state.view}&ad=${ad}`);
  for (const row of at("ads").children) {
    const chosen = row.id === `ad-${ad}`;
    row.classList.toggle("chosen", chosen);
    row.querySelector(".choose")?.setAttribute("aria-pressed", String(chosen));
  }
  drawPast();
  drawWhy();
}
