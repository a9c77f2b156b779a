// Questions to the server.

import { failure, loading } from "./elements.js";

const FINAL = [404, 413, 415, 422, 501]; // Asked again it would be the same.

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(`/explore/${path}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  throw Object.assign(new Error(found.error
    ? `Sorry: ${found.error}.`
    : `Sorry, the server could not answer (status ${answer.status}).`),
  { final: FINAL.includes(answer.status) });
}

const asking = new WeakMap();

/** Gives up what a place has asked for, and empties it. */
export function stop(place) {
  asking.get(place)?.abort();
  place.replaceChildren();
}

/** Shows what is loading in a place, then what is found, or what went wrong.
 *
 * What the place asked for before is given up: answers may come out of order.
 */
export async function fill(place, text, path, draw, options = {}) {
  stop(place);
  const own = new AbortController();
  asking.set(place, own);
  place.setAttribute("aria-busy", "true");
  place.replaceChildren(loading(text));
  try {
    const found = await ask(path, { ...options, signal: own.signal });
    if (!own.signal.aborted) place.replaceChildren(...draw(found));
  } catch (error) {
    if (own.signal.aborted) return;
    const again = () => fill(place, text, path, draw, options);
    place.replaceChildren(failure(error, error.final ? null : again));
  }
  place.setAttribute("aria-busy", "false");
}
