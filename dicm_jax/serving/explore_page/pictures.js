// Pictures, and what is near them.

import { fill } from "./asking.js";
import { at, make, number } from "./elements.js";
import { state, titleOf } from "./shared.js";

/** A picture that shows its neighbours when it is pressed. */
export function pictureButton(picture, label = "") {
  if (picture === null) {
    return make("div", { className: "picture none" }, "no picture");
  }
  const text = [label, titleOf(picture)].filter(Boolean).join(": ");
  const image = make("img", {
    src: `/explore/pictures/${picture}`, alt: "", loading: "lazy",
  });
  image.onerror = () => image.replaceWith("cannot be loaded");
  return make("button", {
    className: "picture", type: "button", title: `${text}; show like ones`,
    "aria-label": `${text}. Show pictures like it`,
    onclick: () => showLike(picture),
  }, image);
}

function showLike(picture) {
  const { name } = state.about.pictures[picture];
  at("like-of").replaceChildren(
    make("div", { className: "picture" }, make("img", {
      src: `/explore/pictures/${picture}`, alt: titleOf(picture),
    })),
    make("p", {}, `${titleOf(picture)} (${name})`));
  if (!at("like").open) at("like").showModal();
  fill(at("like-found"), "Looking for like pictures …",
    `neighbours/${picture}`, drawNeighbours);
}

export function drawNeighbours(found) {
  return [make("p", { className: "note" },
    "By the cosine of the vectors that the model has of the pictures."),
  make("ol", { className: "grid" }, ...found.map(({ picture, similarity }) =>
    make("li", {}, pictureButton(picture),
      make("span", { className: "number" }, number(similarity, 2)),
      ` ${titleOf(picture)}`)))];
}
