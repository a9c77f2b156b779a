// What all parts of the page know.

import { largest } from "./elements.js";

/** What was asked for: the models and pictures, all page views, and the page
 * view and the ad that are looked at. */
export const state = { about: null, views: [], view: -1, page: null, ad: -1 };

/** Classes of the models' colours. */
export const MODELS = ["first", "second"];

/** What tells the i-th model from others. */
export function modelName(i) {
  const one = state.about.models[i];
  const sees = one.images === "none" ? "ids alone" : `pictures: ${one.images}`;
  const place = state.about.models.length > 1 ? `${i + 1}: ` : "";
  return `${place}${one.model}, ${sees}`;
}

export function titleOf(picture) {
  if (picture === null) return "no picture";
  const { name, title } = state.about.pictures[picture];
  return title || name;
}

/** The largest probability of a page view, at which bars end. */
export function scaleOf(page) {
  return largest(page.ads.flatMap(({ predicted, true_probability: truth }) =>
    [...predicted, truth ?? 0]));
}

export const chosenAd = () =>
  state.page.ads.find(({ ad }) => ad === state.ad);

/** "latest click", "2 clicks back", ...: of a behaviour by its place. */
export function ago(place) {
  const back = state.page.behaviours.length - place;
  return back === 1 ? "latest click" : `${back} clicks back`;
}
