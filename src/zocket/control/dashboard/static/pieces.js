/** The pieces that pages are made of. */

import { ApiError } from "./api.js";
import { draw, make, update } from "./dom.js";
import { icon } from "./icons.js";
import { ago, exactly, until } from "./words.js";

/** A state as a coloured pill; the word carries the meaning, the colour helps. */
export function pill({ text, tone }) {
  return make("span", { className: "pill", data: { tone } }, text);
}

/** A time that keeps itself fresh. */
export function when(at, { isFuture = false } = {}) {
  return make("time", {
    dateTime: new Date(at).toISOString(),
    title: exactly(at),
    textContent: isFuture ? until(at) : ago(at),
    data: { at, ahead: isFuture ? "yes" : null },
  });
}

setInterval(() => {
  for (const element of document.querySelectorAll("time[data-at]")) {
    const at = Number(element.dataset.at);
    const text = element.dataset.ahead ? until(at) : ago(at);
    if (element.textContent !== text) element.textContent = text;
  }
}, 5_000);

/** Says something for a few seconds. */
export function toast(text, tone = "good") {
  const area = document.getElementById("toasts");
  if ([...area.children].some((shown) => shown.textContent === text)) return;
  const element = make("div", { className: "toast", textContent: text, data: { tone } });
  area.append(element);
  setTimeout(() => element.remove(), tone === "bad" ? 8_000 : 4_000);
}

/** Puts a text onto the clipboard, also where a page without https may not. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = make("textarea", { value: text, className: "sr-only" });
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

/** A button that copies `text`; `what` names it for those who do not see the drawing. */
export function copyButton(text, what, { withText = false } = {}) {
  const label = `Copy ${what}`;
  const button = make(
    "button",
    { type: "button", className: withText ? "button" : "button quiet icon small", title: label, aria: { label } },
    icon("copy"),
    withText && make("span", {}, "Copy"),
  );
  button.onclick = async (event) => {
    const pressed = event.currentTarget;
    const done = await copy(text);
    toast(done ? `Copied ${what}.` : "This browser does not let a page copy. Select the text instead.", done ? "good" : "bad");
    if (!done) return;
    pressed.dataset.copied = "yes";
    setTimeout(() => delete pressed.dataset.copied, 1_500);
  };
  return button;
}

/** One line to be copied: an address, a token. */
export function copyLine(text, what) {
  return make("span", { className: "copyline" }, make("code", {}, text), copyButton(text, what));
}

/** A command to type. */
export function command(text) {
  return make(
    "div",
    { className: "command" },
    make("span", { className: "prompt", aria: { hidden: "true" } }, "$"),
    make("code", {}, text),
    copyButton(text, `the command ${text}`),
  );
}

/** A failure with everything that somebody needs who has to report it. */
export function failure(error, retry = null) {
  const known = error instanceof ApiError;
  return make(
    "div",
    { className: "failure", attributes: { role: "alert" } },
    icon("alert"),
    make(
      "div",
      {},
      make("p", { className: "failure-text" }, known ? error.message : "This page made a mistake."),
      make(
        "p",
        { className: "failure-about" },
        "Code ",
        make("code", {}, known ? error.code : error.name),
        known && error.requestId && [" · Request ", make("code", {}, error.requestId)],
      ),
      error.retryAfterS && make("p", { className: "failure-about" }, `Try again in ${error.retryAfterS} s.`),
    ),
    retry && make("button", { type: "button", className: "button", onclick: retry }, "Try again"),
  );
}

/** A failure in one line, for a toast. */
export function inOneLine(error) {
  if (!(error instanceof ApiError)) return `This page made a mistake: ${error.message}`;
  return error.requestId ? `${error.message} (${error.code}, ${error.requestId})` : `${error.message} (${error.code})`;
}

/** Grey bars where something will be. */
export function skeleton(lines = 3) {
  return make(
    "div",
    { className: "skeleton", aria: { busy: "true" } },
    make("span", { className: "sr-only" }, "Loading"),
    Array.from({ length: lines }, () => make("span", { className: "bar" })),
  );
}

/** An area that follows resources: bars, then what `render` draws, or what went wrong. */
export function follow(area, resources, signal, render, lines = 3) {
  const show = () => {
    const broken = resources.find((resource) => resource.error && resource.value === undefined);
    if (broken) update(area, failure(broken.error, () => resources.forEach((resource) => resource.refresh())));
    else if (resources.some((resource) => resource.value === undefined)) update(area, skeleton(lines));
    else update(area, render(...resources.map((resource) => resource.value)));
  };
  show();
  for (const resource of resources) resource.watch(show, signal);
  return show;
}

/** Something that is not there yet, and what to do about it. */
export function empty(name, title, ...more) {
  return make("div", { className: "empty" }, icon(name), make("p", { className: "empty-title" }, title), more);
}

/** A card with a heading. */
export function card(title, { actions = [], note = null, key = null, className = "" } = {}, ...content) {
  return make(
    "section",
    { className: `card ${className}`.trim(), data: { key } },
    make(
      "header",
      { className: "card-head" },
      make("div", {}, make("h2", {}, title), note && make("p", { className: "note" }, note)),
      make("div", { className: "actions" }, actions),
    ),
    content,
  );
}

/** A round sign with a person's initials. */
export function avatar(name) {
  const words = name.trim().split(/[\s@.]+/).filter(Boolean);
  const letters = words.length > 1 ? words.slice(0, 2).map((word) => [...word][0]) : [...(words[0] ?? "?")].slice(0, 2);
  const element = make("span", { className: "avatar", aria: { hidden: "true" } }, letters.join("").toUpperCase());
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 3_600;
  element.style.setProperty("--hue", hash / 10);
  return element;
}

/** The last minute of a counter as a line; it says nothing that the number beside it does not. */
export function sparkline(values, tone = "accent") {
  const width = 120;
  const height = 32;
  const drawing = draw("svg", {
    viewBox: `0 0 ${width} ${height}`,
    preserveAspectRatio: "none",
    class: `sparkline ${tone}`,
    "aria-hidden": "true",
  });
  if (values.length === 0) return drawing;
  const known = values.length > 1 ? values : [values[0], values[0]];
  // A small change of a large number is to be seen, but noise is not to look like a storm.
  const top = Math.max(...known, 0.001);
  const range = Math.max(top - Math.min(...known), top * 0.12);
  const bottom = Math.max(0, top - range * 1.8);
  const step = width / (known.length - 1);
  const points = known.map((value, index) => {
    const y = height - 2 - ((value - bottom) / (top - bottom)) * (height - 6);
    return `${(index * step).toFixed(1)} ${Math.min(height - 1, y).toFixed(1)}`;
  });
  const line = `M${points.join("L")}`;
  drawing.append(
    draw("path", { class: "area", d: `${line}L${width} ${height}L0 ${height}Z` }),
    draw("path", { class: "line", d: line, "vector-effect": "non-scaling-stroke" }),
  );
  return drawing;
}

/** Names and values. */
export function facts(entries) {
  return make(
    "dl",
    { className: "facts" },
    entries.filter(Boolean).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
  );
}
