// A picture of one's own among the ads.

import { fill, stop } from "./asking.js";
import { at, bar, failure, loading, make, number } from "./elements.js";
import { drawNeighbours } from "./pictures.js";
import { scaleOf, state } from "./shared.js";

const SIDE = 512; // Pixels that a picture is made smaller to.

export function drawOwn() {
  if (at("own-found")) stop(at("own-found"));
  if (!state.about.embeds) {
    at("own").replaceChildren(make("p", { className: "note" },
      state.about.sees_pictures
        ? "This bundle has no encoder, so a new picture cannot be ranked here."
        : "This model sees no pictures, so a new one makes no difference."));
    return;
  }
  const input = make("input", {
    type: "file", accept: "image/*", className: "hidden", id: "own-file",
    onchange: () => input.files[0] && rankOwn(input.files[0]),
  });
  const zone = make("label", { className: "drop", htmlFor: "own-file" },
    "Drop a picture here, or choose one", input);
  zone.ondragover = (event) => {
    event.preventDefault();
    zone.classList.add("over");
  };
  zone.ondragleave = () => zone.classList.remove("over");
  zone.ondrop = (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) rankOwn(file);
  };
  at("own").replaceChildren(zone, make("div", { id: "own-found" }));
}

/** A picture small enough to send; it never leaves at full size. */
async function smaller(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = make("canvas", {
    width: Math.max(1, Math.round(bitmap.width * scale)),
    height: Math.max(1, Math.round(bitmap.height * scale)),
  });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white"; // Behind what is transparent.
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
}

async function rankOwn(file) {
  const place = at("own-found");
  let body;
  place.replaceChildren(loading("Reading your picture …"));
  try {
    body = await smaller(file);
  } catch {
    place.replaceChildren(failure(new Error(
      `Sorry: ${file.name} cannot be read as a picture.`)));
    return;
  }
  if (!place.isConnected) return; // Another page view was opened meanwhile.
  const shown = URL.createObjectURL(body);
  await fill(place, "Ranking your picture …",
    `rank-picture?view=${state.view}`, (found) => drawRanked(found, shown),
    { method: "POST", body, headers: { "content-type": "image/jpeg" } });
}

function drawRanked(found, shown) {
  document.querySelector(".ads .own")?.remove();
  const row = make("li", { className: "own" },
    make("div", { className: "picture" },
      make("img", { src: shown, alt: "your picture" })),
    make("div", { className: "choose" },
      make("span", { className: "head" }, make("b", {}, `#${found.rank}`),
        `your picture, of ${found.of}`),
      make("span", { className: "measure" },
        bar(found.predicted, scaleOf(state.page), "first"),
        make("span", { className: "number" }, number(found.predicted)))));
  at("ads").insertBefore(row, at("ads").children[found.rank - 1] ?? null);
  return [
    make("p", {}, "An ad with your picture, of which nothing else is known, ",
      "would stand ", make("b", {}, `#${found.rank} of ${found.of}`), ", at ",
      make("b", { className: "number" }, number(found.predicted)), "."),
    make("h3", {}, "Pictures like it"),
    ...drawNeighbours(found.neighbours),
  ];
}
