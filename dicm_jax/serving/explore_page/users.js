// The list of users.

import { at, make } from "./elements.js";
import { state } from "./shared.js";

let whenChosen = () => {};

/** Draws the list; `choose` is told which page view is chosen. */
export function startUsers(choose) {
  whenChosen = choose;
  at("search").oninput = drawUsers;
  at("search").onkeydown = at("users").onkeydown = moveUser;
  drawUsers();
}

function drawUsers() {
  const wanted = at("search").value.trim().toLowerCase();
  const shown = state.views.filter(({ user }) =>
    user.toLowerCase().includes(wanted));
  at("users").replaceChildren(...shown.map(drawUser));
  at("users").setAttribute("aria-busy", "false");
  at("found").textContent = shown.length
    ? `${shown.length} of ${state.views.length}` : "No such user";
  markUser();
}

function drawUser({ view, user, ads, behaviours }) {
  return make("li", {
    id: `user-${view}`, role: "option", onclick: () => whenChosen(view),
  }, `User ${user}`,
  make("small", {}, `${behaviours} past clicks, ${ads} ads`));
}

/** Marks the user whose page view is shown. */
export function markUser() {
  at("users").removeAttribute("aria-activedescendant");
  for (const option of at("users").children) {
    const chosen = option.id === `user-${state.view}`;
    option.setAttribute("aria-selected", String(chosen));
    if (chosen) {
      at("users").setAttribute("aria-activedescendant", option.id);
      scrollTo(at("users"), option);
    }
  }
}

/** Not scrollIntoView, which would scroll the page of a phone as well. */
function scrollTo(list, option) {
  const top = option.offsetTop - list.offsetTop;
  const below = top + option.offsetHeight - list.clientHeight;
  if (top < list.scrollTop) list.scrollTop = top;
  if (below > list.scrollTop) list.scrollTop = below;
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
  whenChosen(shown[Math.min(Math.max(to, 0), shown.length - 1)]);
}
