// The explorer's page: asks /explore/... and draws the answers.

const state = { about: null, views: [], view: -1, page: null, ad: -1 };
const at = (id) => document.getElementById(id);
const CHANNELS = {
  by_image: ["pic", "by the ad's picture"],
  by_ids: ["ids", "by the ad's ids"],
};
const MODELS = ["first", "second"];
const SIDE = 512; // Pixels that an own picture is made smaller to.

// --- Elements ---------------------------------------------------------------

/** An element: properties, those with a dash as attributes; then children. */
function make(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children.filter((one) => one !== null));
  return made;
}

const number = (x, digits = 3) => x.toFixed(digits);
const signed = (x, digits) =>
  (x < 0 ? "−" : "+") + Math.abs(x).toFixed(digits);
const loading = (text) => make("p", { className: "loading", role: "status" },
  text);
const largest = (values) => Math.max(1e-12, ...values.map(Math.abs));

function failure(error, again) {
  const button = make("button", { className: "plain", onclick: again },
    "Try again");
  return make("p", { className: "error", role: "alert" }, error.message,
    again ? button : null);
}

function titleOf(picture) {
  if (picture === null) return "no picture";
  const { name, title } = state.about.pictures[picture];
  return title || name;
}

/** A picture that shows its neighbours when it is pressed. */
function pictureButton(picture, label = "") {
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

/** A bar from the left, or from the middle where numbers have signs. */
function bar(value, most, kind, hasSign = false) {
  const part = make("i");
  const share = Math.min(Math.abs(value) / most, 1) * (hasSign ? 50 : 100);
  part.style.width = `${share}%`;
  part.style.left = hasSign ? `${value < 0 ? 50 - share : 50}%` : "0";
  if (value < 0) part.className = "down";
  return make("span", {
    className: `bar ${kind} ${hasSign ? "signed" : ""}`, "aria-hidden": "true",
  }, part);
}

// --- Asking -----------------------------------------------------------------

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(`/explore/${path}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  throw new Error(found.error
    ? `Sorry: ${found.error}.`
    : `Sorry, the server could not answer (status ${answer.status}).`);
}

/** Shows what is loading in a place, then what is found, or what went wrong.
 *
 * What a place asked for before is given up: answers may come out of order.
 */
const asking = new Map();
async function fill(place, text, path, draw, options = {}) {
  asking.get(place)?.abort();
  const own = new AbortController();
  asking.set(place, own);
  place.setAttribute("aria-busy", "true");
  place.replaceChildren(loading(text));
  try {
    const found = await ask(path, { ...options, signal: own.signal });
    if (!own.signal.aborted) place.replaceChildren(...draw(found));
  } catch (error) {
    if (own.signal.aborted) return;
    place.replaceChildren(failure(error,
      () => fill(place, text, path, draw, options)));
  } finally {
    if (!own.signal.aborted) place.setAttribute("aria-busy", "false");
  }
}

// --- Users ------------------------------------------------------------------

function drawUsers() {
  const wanted = at("search").value.trim().toLowerCase();
  const shown = state.views.filter(({ user }) =>
    user.toLowerCase().includes(wanted));
  at("users").replaceChildren(...shown.map(({ view, user, ads, behaviours }) =>
    make("li", {
      id: `user-${view}`, role: "option", onclick: () => choose(view),
      "aria-selected": String(view === state.view),
    }, `User ${user}`,
    make("small", {}, `${behaviours} clicked before, ${ads} ads`))));
  at("users").setAttribute("aria-busy", "false");
  at("found").textContent = shown.length
    ? `${shown.length} of ${state.views.length}` : "No such user";
  markUser();
}

function markUser() {
  for (const option of at("users").children) {
    const chosen = option.id === `user-${state.view}`;
    option.setAttribute("aria-selected", String(chosen));
    if (!chosen) continue;
    at("users").setAttribute("aria-activedescendant", option.id);
    // Not scrollIntoView, which would scroll the page of a phone as well.
    const list = at("users");
    const top = option.offsetTop - list.offsetTop;
    if (top < list.scrollTop) list.scrollTop = top;
    const below = top + option.offsetHeight - list.clientHeight;
    if (below > list.scrollTop) list.scrollTop = below;
  }
}

function moveUser(event) {
  const shown = [...at("users").children].map((one) =>
    Number(one.id.slice("user-".length)));
  const now = shown.indexOf(state.view);
  const to = {
    ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: shown.length - 1,
    PageDown: now + 10, PageUp: now - 10,
  }[event.key];
  if (to === undefined || !shown.length) return;
  if (event.target === at("search") && !event.key.startsWith("Arrow")) return;
  event.preventDefault();
  choose(shown[Math.min(Math.max(to, 0), shown.length - 1)]);
}

// --- A page view ------------------------------------------------------------

let opening = null;
function choose(view, ad = null) {
  state.view = view;
  state.page = null;
  markUser();
  location.replace(`#view=${view}`);
  clearTimeout(opening); // Of an arrow key that is held down, the last counts.
  opening = setTimeout(() => open(view, ad), 80);
}

async function open(view, ad) {
  const user = state.views[view].user;
  at("past").replaceChildren();
  at("past-note").replaceChildren();
  at("why").replaceChildren();
  drawOwn();
  await fill(at("ads"), `Scoring the ads of user ${user} …`, `views/${view}`,
    (page) => {
      state.page = page;
      state.ad = page.ads.some((one) => one.ad === ad) ? ad : page.ads[0].ad;
      return drawAds();
    });
  if (state.page?.view === view) chooseAd(state.ad);
}

function scaleOf(page) {
  return largest(page.ads.flatMap(({ predicted, true_probability: truth }) =>
    [...predicted, truth ?? 0]));
}

function drawAds() {
  const most = scaleOf(state.page);
  return state.page.ads.map((ad) => make("li", { id: `ad-${ad.ad}` },
    pictureButton(ad.picture),
    make("button", {
      className: "choose", type: "button", "aria-pressed": "false",
      onclick: () => chooseAd(ad.ad),
    }, adHead(ad), ...measures(ad, most))));
}

function adHead(ad) {
  const other = ad.rank[1] && ad.rank[1] !== ad.rank[0]
    ? make("span", { className: "tag" }, `other model: #${ad.rank[1]}`) : null;
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

// --- Behaviours and attention -----------------------------------------------

function drawPast() {
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
  const back = state.page.behaviours.length - place;
  const said = back === 1 ? "latest click" : `${back} clicks back`;
  const made = make("li", {}, pictureButton(picture, said));
  if (!rows.length) return made;
  const strongest = Math.max(...rows.map(([, weights], i) =>
    Math.abs(weights[place] ?? 0) / most[i]));
  const image = made.querySelector("img");
  if (image) image.style.opacity = 0.25 + 0.75 * strongest;
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
  const ad = state.page.ads.find((one) => one.ad === state.ad);
  return [
    `Newest first. Attention weights for ad #${ad.rank[0]} (${
      titleOf(ad.picture)}), ${channels.join("; ")}. Bars to the left are `
      + "negative; pale pictures hardly count.",
  ];
}

// --- Explanations -----------------------------------------------------------

function drawWhy() {
  const { view, ad } = state;
  fill(at("why"), "Looking for what drove this score …",
    `explain/${view}/${ad}`, drawParts);
}

const probability = (logit) => 1 / (1 + Math.exp(-logit));

function drawParts(found) {
  const ad = state.page.ads.find((one) => one.ad === state.ad);
  const most = largest(found.parts.map(({ share }) => share));
  const few = found.parts.slice(0, 10), more = found.parts.slice(10);
  const list = (parts) => make("ol", { className: "parts" },
    ...parts.map((part) => drawPart(part, most)));
  const rest = more.length + found.others.count;
  const missed = Math.abs(found.missed);
  return [
    make("div", { className: "why-top" }, drawCovered(ad),
      make("div", {},
        make("p", {}, make("b", {}, `#${ad.rank[0]} ${titleOf(ad.picture)}`)),
        make("p", {}, "With unknown ids and mean pictures the model would say ",
          make("b", { className: "number" },
            number(probability(found.baseline))), "; it says ",
          make("b", { className: "number" }, number(probability(found.logit))),
          "."),
        make("p", { className: "note" },
          "What each part adds to the log-odds, by integrated gradients. The "
          + `parts miss ${number(missed)} of ${
            signed(found.logit - found.baseline, 3)}.`))),
    make("h3", {}, "Parts"),
    list(few),
    rest ? make("details", {},
      make("summary", {}, `${rest} smaller parts`), list(more),
      found.others.count ? make("p", { className: "note" },
        `${found.others.count} others together: ${
          signed(found.others.share, 3)}`) : null) : null,
  ].filter((one) => one !== null);
}

function drawPart(part, most) {
  const back = state.page.behaviours.length - part.place;
  const text = {
    behaviour: () => `${titleOf(part.picture)}, clicked ${
      back === 1 ? "last" : `${back} clicks back`}`,
    picture: () => "the ad's picture",
    id: () => `${part.field} = ${part.value}`,
  }[part.kind]();
  return make("li", {},
    part.kind === "id" ? make("span") : pictureButton(part.picture),
    make("span", {}, text), bar(part.share, most, "first", true),
    make("span", { className: "number" }, signed(part.share, 3)));
}

function drawCovered(ad) {
  const place = make("div", { className: "covered" });
  if (ad.picture === null) return make("p", { className: "note" }, "no picture");
  place.append(make("img", {
    src: `/explore/pictures/${ad.picture}`, alt: titleOf(ad.picture),
  }));
  if (!state.about.embeds) return place;
  const under = make("div");
  const button = make("button", {
    className: "plain", type: "button", onclick: () => fill(under,
      "Covering parts of it …", `occlusion/${state.view}/${ad.ad}`,
      ({ fall }) => {
        place.append(overlay(fall));
        return [make("p", { className: "note" }, "Covered with grey, blue "
          + "parts lower the score and orange ones raise it.")];
      }),
  }, "Which part of it?");
  under.append(button);
  return make("div", {}, place, under);
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

// --- Neighbours -------------------------------------------------------------

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

function drawNeighbours(found) {
  return [make("p", { className: "note" },
    "By the cosine of the vectors that the model has of the pictures."),
  make("ol", { className: "grid" }, ...found.map(({ picture, similarity }) =>
    make("li", {}, pictureButton(picture),
      make("span", { className: "number" }, number(similarity, 2)),
      ` ${titleOf(picture)}`)))];
}

// --- One's own picture ------------------------------------------------------

function drawOwn() {
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
  try {
    body = await smaller(file);
  } catch {
    place.replaceChildren(failure(new Error(
      `Sorry: ${file.name} cannot be read as a picture.`)));
    return;
  }
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
        "your picture"),
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

// --- Beginning --------------------------------------------------------------

const modelName = (i) => {
  const one = state.about.models[i];
  const sees = one.images === "none" ? "ids alone" : `pictures: ${one.images}`;
  return `${one.model}, ${sees}`;
};

function drawAbout() {
  const { about } = state;
  at("models").replaceChildren(...about.models.map((one, i) => make("li", {},
    make("span", { className: `swatch ${MODELS[i]}` }),
    `${modelName(i)}, ${one.step} steps`,
    one.auc ? `, AUC ${number(one.auc)}` : "")));
  const kinds = about.models.map((_, i) => [MODELS[i], modelName(i)]);
  at("legend").replaceChildren(
    ...[...kinds, ["truth", "true probability, where it is known"]].map(
      ([kind, name]) => make("li", {},
        make("span", { className: `swatch ${kind}` }), name)));
  at("notice").textContent = [about.data_notice,
    about.models[0].weights_notice].filter(Boolean).join(" ");
}

async function begin() {
  at("failed").replaceChildren();
  at("users").replaceChildren(make("li", { className: "loading" },
    "Loading users …"));
  try {
    [state.about, state.views] = await Promise.all([ask("about"),
      ask("views")]);
  } catch (error) {
    at("users").replaceChildren();
    at("failed").replaceChildren(failure(error, begin));
    return;
  }
  drawAbout();
  drawUsers();
  const wanted = new URLSearchParams(location.hash.slice(1));
  const view = Number(wanted.get("view") ?? 0);
  choose(state.views[view] ? view : 0, Number(wanted.get("ad") ?? -1));
}

at("search").addEventListener("input", drawUsers);
at("search").addEventListener("keydown", moveUser);
at("users").addEventListener("keydown", moveUser);
begin();
