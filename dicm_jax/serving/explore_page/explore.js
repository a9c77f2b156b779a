// Begins: asks what is served, then shows the first page view.

import { choose } from "./ads.js";
import { ask } from "./asking.js";
import { at, failure, loading, make, number } from "./elements.js";
import { MODELS, modelName, state } from "./shared.js";
import { startUsers } from "./users.js";

function drawAbout() {
  const { about } = state;
  at("models").replaceChildren(...about.models.map((one, i) => make("li", {},
    make("span", { className: `swatch ${MODELS[i]}` }),
    `${modelName(i)}, ${one.step} steps, bundle ${one.bundle.slice(0, 8)}`,
    one.auc ? `, AUC ${number(one.auc)}` : "")));
  const kinds = about.models.map((_, i) => [MODELS[i], modelName(i)]);
  at("legend").replaceChildren(
    ...[...kinds, ["truth", "true probability, where it is known"]].map(
      ([kind, name]) => make("li", {},
        make("span", { className: `swatch ${kind}` }), name)));
  at("notice").textContent = [about.data_notice,
    about.models[0].weights_notice].filter(Boolean).join(" · ");
}

async function begin() {
  at("failed").replaceChildren();
  at("found").replaceChildren(loading("Loading users …"));
  try {
    [state.about, state.views] = await Promise.all([ask("about"),
      ask("views")]);
  } catch (error) {
    at("found").replaceChildren();
    at("failed").replaceChildren(failure(error, begin));
    return;
  }
  drawAbout();
  startUsers(choose);
  const wanted = new URLSearchParams(location.hash.slice(1));
  const view = Number(wanted.get("view") ?? 0);
  choose(state.views[view] ? view : 0, Number(wanted.get("ad") ?? -1));
}

/** What nobody has foreseen is shown too. */
function failed(reason) {
  at("failed").replaceChildren(failure(new Error(
    `Sorry, this page has failed: ${reason?.message ?? reason}.`), begin));
}

addEventListener("error", ({ error }) => failed(error));
addEventListener("unhandledrejection", ({ reason }) => failed(reason));
begin();
