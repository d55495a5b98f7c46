/** The drawing board's page: the pen on one side, the shared state on the other. */

import { connect, gatewayUrl } from "/zocket.js";

import { BOARD_HEIGHT, BOARD_WIDTH, Canvas, Drawing, heightOf, onBoard, widthWithin } from "./canvas.js";
import { Pen } from "./pen.js";
import { attempt, avatar, hueOf, inWords, make, placeFromHash, showStatus, toast } from "./ui.js";

/** The others see the pen move this often at most. */
const CURSOR_EVERY_MS = 60;
/** A cursor that stands still fades after this time. */
const CURSOR_SHOWN_MS = 4_000;

const COLORS = { ink: "Ink", red: "Red", amber: "Amber", green: "Green", blue: "Blue", violet: "Violet", paper: "Eraser" };
const SIZES = { 6: "Fine", 14: "Medium", 32: "Broad" };

const $ = (id) => document.getElementById(id);
const place = placeFromHash("main");
const client = connect(await gatewayUrl());
const board = client.actor("board", place);
const ink = new Drawing(new Canvas($("ink")));
const pen = new Pen(new Canvas($("mine")), send, (error) => toast(inWords(error)));

let color = "ink";
let size = 14;
let people = {};
let lastCursorMs = 0;

function send(id, brush, points, first) {
  return first ? board.begin({ stroke: id, ...brush, points }) : board.extend({ stroke: id, points });
}

function penDown(event) {
  if (pen.isDown || event.button !== 0) return;
  event.preventDefault();
  $("board").setPointerCapture(event.pointerId);
  pen.down({ color, size }, ...onBoard(event, $("board")));
  $("empty").hidden = true;
}

function penMove(event) {
  const now = Date.now();
  if (now - lastCursorMs >= CURSOR_EVERY_MS && client.status === "open") {
    lastCursorMs = now;
    const [x, y] = onBoard(event, $("board"));
    board.point({ x, y }).catch(() => {}); // the next one is better anyway
  }
  const steps = event.getCoalescedEvents?.() ?? [];
  for (const step of steps.length > 0 ? steps : [event]) pen.to(...onBoard(step, $("board")));
}

function show({ strokes }) {
  ink.show(strokes);
  $("empty").hidden = Object.keys(strokes).length > 0 || pen.isDown;
}

function showPeople() {
  const names = Object.entries(people)
    .sort(([a], [b]) => Number(b === client.id) - Number(a === client.id))
    .map(([session, { name }]) => (session === client.id ? `${name} (you)` : name));
  const faces = names.slice(0, 4).map((name) => avatar(name.replace(" (you)", "")));
  if (names.length > 4) faces.push(make("span", { className: "more", textContent: `+${names.length - 4}` }));
  $("faces").replaceChildren(...faces);
  $("faces").setAttribute("aria-label", `Here now: ${names.join(", ")}`);
  $("faces").title = names.join(", ");
  for (const cursor of [...$("cursors").children]) {
    if (people[cursor.dataset.session] === undefined) cursor.remove();
  }
}

const fading = new Map();

function showCursor({ session, x, y }) {
  const person = people[session];
  if (person === undefined) return;
  let cursor = [...$("cursors").children].find((element) => element.dataset.session === session);
  if (cursor === undefined) {
    cursor = make("div", { className: "cursor" }, make("span", { textContent: person.name }));
    cursor.dataset.session = session;
    cursor.style.setProperty("--hue", hueOf(person.name));
    $("cursors").append(cursor);
  }
  const box = $("board");
  cursor.style.transform = `translate(${(x / BOARD_WIDTH) * box.clientWidth}px, ${(y / BOARD_HEIGHT) * box.clientHeight}px)`;
  cursor.style.opacity = "1";
  cursor.classList.toggle("at-right", x > BOARD_WIDTH * 0.85);
  clearTimeout(fading.get(session));
  fading.set(session, setTimeout(() => (cursor.style.opacity = "0"), CURSOR_SHOWN_MS));
}

/** The board is as large as its stage allows, always of the same shape. */
function fit() {
  const stage = $("stage").getBoundingClientRect();
  const width = widthWithin(stage.width, stage.height);
  $("board").style.width = `${width}px`;
  $("board").style.height = `${heightOf(width)}px`;
  ink.resize(width - 2);
  pen.resize(width - 2);
}

function redraw() {
  ink.redraw();
  pen.redraw();
}

function choices(area, name, options, chosen, sample, choose) {
  area.append(
    ...Object.entries(options).map(([value, label]) => {
      const input = make("input", { type: "radio", name, value, checked: value === String(chosen), ariaLabel: label });
      input.addEventListener("change", () => choose(value));
      return make("label", { className: "choice", title: label }, input, sample(value));
    }),
  );
}

choices($("colors"), "color", COLORS, color, (value) => {
  const sample = make("span", { className: value === "paper" ? "sample paper" : "sample" });
  sample.style.setProperty("--sample", `var(--ink-${value})`);
  return sample;
}, (value) => (color = value));
choices($("sizes"), "size", SIZES, size, (value) => {
  const sample = make("span", { className: "sample width" });
  sample.style.setProperty("--width", `${4 + value / 2}px`);
  return sample;
}, (value) => (size = Number(value)));

const undo = async () => {
  if ((await attempt(board.undo())) === false) toast("You have no stroke on this board.");
};
$("undo").addEventListener("click", undo);
$("clear").addEventListener("click", () => attempt(board.clear()));
addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
  event.preventDefault();
  undo();
});
$("board").addEventListener("pointerdown", penDown);
$("board").addEventListener("pointermove", penMove);
$("board").addEventListener("pointerup", () => pen.up());
$("board").addEventListener("pointercancel", () => pen.up());
addEventListener("hashchange", () => location.reload());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
new ResizeObserver(fit).observe($("stage"));

$("title").textContent = place;
showStatus(client, $("status"));
client.onError((error) => toast(inWords(error)));
board.on("cursor", showCursor);
board.state.subscribe((state) => {
  people = state.people;
  showPeople();
  show(state);
});
fit();
