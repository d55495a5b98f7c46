/** Small pieces that the examples' pages share; each example carries its own copy. */

/** What a connection badge says. */
export const STATUS_TEXT = {
  connecting: "Connecting…",
  open: "Live",
  reconnecting: "Reconnecting…",
  closed: "Offline",
};

/** Keeps a badge in step with the connection. */
export function showStatus(client, badge) {
  const show = () => {
    badge.dataset.status = client.status;
    badge.textContent = STATUS_TEXT[client.status];
  };
  client.onStatus(show);
  show();
}

/**
 * Says something for a few seconds; the same text is not stacked.
 *
 * @param {string} text
 */
export function toast(text) {
  const area = document.querySelector(".toasts");
  if ([...area.children].some((shown) => shown.textContent === text)) return;
  const element = make("div", { className: "toast", textContent: text });
  area.append(element);
  setTimeout(() => element.remove(), 5_000);
}

/**
 * Runs a call and tells the person if it failed; resolves with `undefined` then.
 *
 * @template T
 * @param {Promise<T>} call
 * @returns {Promise<T | undefined>}
 */
export async function attempt(call) {
  try {
    return await call;
  } catch (error) {
    toast(inWords(error));
    return undefined;
  }
}

/** What a person should read when a call failed. */
export function inWords(error) {
  switch (error.code) {
    case "timeout":
      return "No answer from the server. Please try again.";
    case "disconnected":
      return "The connection was lost just now. Please try again.";
    case "validation_failed":
      return "The server did not accept this.";
    case "overloaded":
    case "unavailable":
      return "The server is busy. Please try again in a moment.";
    default:
      return error.message;
  }
}

/** A round sign with a person's initials, in a colour that follows from the name. */
export function avatar(name) {
  const element = make("span", { className: "avatar", textContent: initials(name), title: name });
  element.style.setProperty("--hue", hueOf(name));
  element.setAttribute("aria-hidden", "true");
  return element;
}

/** @param {string} name */
export function hueOf(name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 3_600;
  return hash / 10;
}

/** @param {string} name */
export function initials(name) {
  const words = name.trim().split(/\s+/);
  const letters = words.length > 1 ? [words[0], words.at(-1)].map((word) => [...word][0]) : [...words[0]].slice(0, 2);
  return letters.join("").toUpperCase();
}

/** An element with properties and children. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/**
 * The name behind `#` in the address, made fit for an actor id; `otherwise` if there is none.
 *
 * @param {string} otherwise
 */
export function placeFromHash(otherwise) {
  return slug(decodeURIComponent(location.hash.slice(1))) || otherwise;
}

/** @param {string} text */
export function slug(text) {
  const plain = text.toLowerCase().normalize("NFKD").replace(/[^a-z0-9]+/g, "-");
  return plain.replace(/^-+/, "").slice(0, 24).replace(/-+$/, "");
}
