/** The agent's page: shows the conversation that the address names, sends questions, stops answers. */

import { connect, gatewayUrl } from "/zocket.js";

import { attempt, make, placeFromHash, showStatus } from "./ui.js";

const TOOL_NAMES = { keep_note: "Kept a note", read_notes: "Read the notes", tell_time: "Looked at the clock" };
const ENDINGS = { stopped: "Stopped", failed: "The model did not answer" };

const $ = (id) => document.getElementById(id);

const client = connect(await gatewayUrl());
const place = placeFromHash("main");
const conversation = client.actor("conversation", place);
let shown = []; // patched states share what did not change, so === finds what to draw again

function show({ exchanges }) {
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  const rows = [...$("exchanges").children];
  exchanges.forEach((exchange, at) => {
    if (exchange === shown[at]) return;
    const row = rowOf(exchange);
    if (at < rows.length) rows[at].replaceWith(row);
    else $("exchanges").append(row);
  });
  for (const row of rows.slice(exchanges.length)) row.remove();
  shown = exchanges;
  const writing = exchanges.at(-1)?.status === "writing";
  $("empty").hidden = exchanges.length > 0;
  $("send").hidden = writing;
  $("stop").hidden = !writing;
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function rowOf({ question, steps, status, error }) {
  const answer = make("div", { className: "answer" });
  for (const { text, calls } of steps) {
    if (text !== "") answer.append(make("p", { className: "text", textContent: text }));
    answer.append(...calls.map(toolOf));
  }
  answer.dataset.status = status;
  if (status in ENDINGS) {
    answer.append(make("p", { className: "ending", textContent: error ? `${ENDINGS[status]}: ${error}` : ENDINGS[status] }));
  }
  return make("li", {}, make("p", { className: "question", textContent: question }), answer);
}

function toolOf({ name, arguments: input, result }) {
  const tool = make("details", { className: "tool" }, make("summary", { textContent: TOOL_NAMES[name] ?? name }));
  tool.append(make("code", { textContent: input }), make("code", { textContent: result ?? "…" }));
  tool.dataset.done = result !== null;
  return tool;
}

function fit() {
  const field = $("text");
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

async function send() {
  const text = $("text").value.trim();
  if (text === "" || !$("stop").hidden) return;
  $("text").value = "";
  fit();
  const sent = await attempt(conversation.send({ text }, { idempotencyKey: true }));
  if (sent === undefined && $("text").value === "") $("text").value = text; // nothing that was written is lost
  fit();
  $("log").scrollTop = $("log").scrollHeight;
}

showStatus(client, $("status"));
conversation.state.subscribe(show);
$("title").textContent = place;
$("new").href = `#${Math.random().toString(36).slice(2, 10)}`;
addEventListener("hashchange", () => location.reload());
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("text").addEventListener("input", fit);
$("text").addEventListener("keydown", (event) => {
  // While an input method composes a word, Enter accepts the word.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
$("stop").addEventListener("click", () => attempt(conversation.stop()));
if (matchMedia("(pointer: fine)").matches) $("text").focus();
