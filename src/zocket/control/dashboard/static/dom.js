/**
 * Elements, and how a drawn page follows what is true now.
 *
 * Rules: text becomes text, never markup. A view draws everything from its data; `update` changes only what differs, so
 * that focus, opened details, scroll positions and what somebody has typed stay. Listeners are properties (`onclick`),
 * because those can be carried over.
 */

const SVG = "http://www.w3.org/2000/svg";
/** Attributes that a page's reader, or the router's focus, has set. */
const OWN = ["open", "tabindex"];
const LISTENERS = ["onclick", "oninput", "onchange", "onsubmit", "ontoggle", "onkeydown"];

/** An element with properties and children; `data`, `aria` and `attributes` are objects, a missing child is left out. */
export function make(tag, properties = {}, ...children) {
  const { data = {}, aria = {}, attributes = {}, ...own } = properties;
  const element = Object.assign(document.createElement(tag), own);
  for (const [name, value] of Object.entries(data)) if (value != null) element.dataset[name] = value;
  for (const [name, value] of Object.entries(aria)) if (value != null) element.setAttribute(`aria-${name}`, value);
  for (const [name, value] of Object.entries(attributes)) if (value != null) element.setAttribute(name, value);
  element.append(...present(children));
  return element;
}

/** The same for a drawing. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function present(children) {
  return children.flat(Infinity).filter((child) => child != null && child !== false);
}

/** Makes `area` hold these children, keeping what is the same already. */
export function update(area, ...children) {
  morphChildren(area, present(children).map((child) => (child instanceof Node ? child : document.createTextNode(child))));
}

function morphChildren(area, wanted) {
  const keyed = new Map();
  for (const child of area.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let place = area.firstChild;
  for (const fresh of wanted) {
    const key = fresh.dataset?.key;
    const match = key ? keyed.get(key) : place && !place.dataset?.key ? place : null;
    if (match && isSame(match, fresh)) {
      if (match === place) place = place.nextSibling;
      else area.insertBefore(match, place);
      morph(match, fresh);
    } else {
      area.insertBefore(fresh, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function isSame(old, fresh) {
  return (
    old.nodeType === fresh.nodeType &&
    old.nodeName === fresh.nodeName &&
    old.dataset?.key === fresh.dataset?.key &&
    old.type === fresh.type
  );
}

function morph(old, fresh) {
  if (old === fresh) return;
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.dataset.keep && old.dataset.keep === fresh.dataset.keep) return; // it looks after itself
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !OWN.includes(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (!OWN.includes(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const name of LISTENERS) if (old[name] !== fresh[name]) old[name] = fresh[name];
  if ("disabled" in old && old.disabled !== fresh.disabled) old.disabled = fresh.disabled;
  if (old.tagName === "SELECT" || old.tagName === "INPUT" || old.tagName === "TEXTAREA") {
    if (document.activeElement !== old && old.value !== fresh.value) old.value = fresh.value;
    if (old.tagName !== "SELECT") return;
  }
  morphChildren(old, [...fresh.childNodes]);
}

/** A list of conditions as a class name. */
export function classes(...names) {
  return names.filter(Boolean).join(" ");
}
