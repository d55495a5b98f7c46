/** Light, dark, or as the system has it; appearance.js applies the choice before the first paint. */

import { make } from "./dom.js";
import { icon } from "./icons.js";

const KEY = "zocket-appearance";
const NEXT = { system: "light", light: "dark", dark: "system" };
const WORDS = { system: "as the system", light: "light", dark: "dark" };
const ICONS = { system: "system", light: "sun", dark: "moon" };

function chosen() {
  return document.documentElement.dataset.appearance ?? "system";
}

/** A button that goes on to the next of the three. */
export function appearanceButton() {
  const button = make("button", { type: "button", className: "button quiet icon" });
  const show = () => {
    const label = `Colours: ${WORDS[chosen()]}. Change to ${WORDS[NEXT[chosen()]]}`;
    button.replaceChildren(icon(ICONS[chosen()]));
    button.setAttribute("aria-label", label);
    button.title = label;
  };
  button.onclick = () => {
    const next = NEXT[chosen()];
    if (next === "system") delete document.documentElement.dataset.appearance;
    else document.documentElement.dataset.appearance = next;
    try {
      if (next === "system") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, next);
    } catch {
      // Kept for this page alone, then.
    }
    show();
  };
  show();
  return button;
}
