// Elements of the page, and numbers as text.

export const at = (id) => document.getElementById(id);

/** An element: properties, those with a dash as attributes; then children. */
export function make(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children.filter((one) => one !== null));
  return made;
}

export const number = (x, digits = 3) => x.toFixed(digits);
export const signed = (x, digits) =>
  (x < 0 ? "−" : "+") + Math.abs(x).toFixed(digits);
export const loading = (text) => make("p", { className: "loading", role: "status" },
  text);
export const largest = (values) => Math.max(1e-12, ...values.map(Math.abs));

export function failure(error, again) {
  const button = make("button", { className: "plain", onclick: again },
    "Try again");
  return make("p", { className: "error", role: "alert" }, error.message,
    again ? button : null);
}

/** A bar from the left, or from the middle where numbers have signs. */
export function bar(value, most, kind, hasSign = false) {
  const part = make("i");
  const share = Math.min(Math.abs(value) / most, 1) * (hasSign ? 50 : 100);
  part.style.width = `${share}%`;
  part.style.left = hasSign ? `${value < 0 ? 50 - share : 50}%` : "0";
  if (value < 0) part.className = "down";
  return make("span", {
    className: `bar ${kind} ${hasSign ? "signed" : ""}`, "aria-hidden": "true",
  }, part);
}
