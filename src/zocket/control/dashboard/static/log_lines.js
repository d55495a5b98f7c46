/**
 * A line of a runtime's output as a person reads it.
 *
 * Rules: a line in our own JSON form becomes event, fields and level; every other line stays as the app wrote it.
 */

import { make } from "./dom.js";

/** Fields that are said otherwise, or are the same in every line of a deployment. */
const KNOWN = new Set([
  "color_message",
  "deployment",
  "event",
  "exception",
  "level",
  "logger",
  "process",
  "project",
  "timestamp",
  "workspace",
]);

/** The element of one `{at, stream, line}`. */
export function lineElement(entry) {
  const at = new Date(entry.at);
  const time = make("time", { dateTime: at.toISOString(), title: entry.stream }, at.toLocaleTimeString("en-GB"));
  const own = fieldsOf(entry.line);
  const text = own ? readable(own) : [entry.line];
  const level = own?.level ?? (entry.stream === "platform" ? "platform" : null);
  return make("div", { className: "log-line", data: { level } }, time, make("span", {}, text));
}

function fieldsOf(line) {
  if (!line.startsWith("{")) return null;
  try {
    const fields = JSON.parse(line);
    return typeof fields?.event === "string" && typeof fields.level === "string" ? fields : null;
  } catch {
    return null;
  }
}

function readable(fields) {
  const named = Object.entries(fields)
    .filter(([name]) => !KNOWN.has(name))
    .map(([name, value]) => `${name}=${valueText(value)}`)
    .join(" ");
  return [
    fields.event,
    named && [" ", make("span", { className: "log-fields" }, named)],
    typeof fields.exception === "string" && `\n${fields.exception}`,
  ];
}

function valueText(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text && !text.includes(" ") ? text : JSON.stringify(text);
}
