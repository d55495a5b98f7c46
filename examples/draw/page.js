/** The drawing board's page: the pen on one side, the shared state on the other. */

import { connect, gatewayUrl } from "/zocket.js";

import { BOARD_HEIGHT, BOARD_WIDTH, Canvas, pointsOf } from "./canvas.js";
import { attempt, avatar, hueOf, inWords, make, placeFromHash, showStatus, toast } from "./ui.js";

/** Points of a stroke travel together in chunks: one call and one small patch in this time. */
const CHUNK_EVERY_MS = 60;
/** The others see the pen move this often at most. */
const CURSOR_EVERY_MS = 60;
/** A cursor that stands still fades after this time. */
const CURSOR_SHOWN_MS = 4_000;
/** A point nearer to the last one than this adds nothing that could be seen; in board units. */
const LEAST_STEP = 3;
/** The server takes a stroke of at most 400 chunks; longer ones go on as a new stroke. */
const MOST_CHUNKS = 380;

const COLORS = { ink: "Ink", red: "Red", amber: "Amber", green: "Green", blue: "Blue", violet: "Violet", paper: "Eraser" };
const SIZES = { 6: "Fine", 14: "Medium", 32: "Broad" };

const $ = (id) => document.getElementById(id);
const place = placeFromHash("main");
const client = connect(await gatewayUrl());
const board = client.actor("board", place);
const ink = new Canvas($("ink"));
const mine = new Canvas($("mine")); // the stroke under the pen, shown before the server has it

let color = "ink";
let size = 14;
let people = {};
let drawn = new Map(); // stroke id → {stroke, points} as they are on the canvas

/** Brings the canvas in step with the strokes of the state: draws only what came, unless something went. */
function show(strokes) {
  const ids = Object.keys(strokes);
  const onlyGrew = [...drawn.keys()].every((id, at) => id === ids[at]);
  if (!onlyGrew) {
    ink.clear();
    drawn = new Map();
  }
  for (const id of ids) {
    const before = drawn.get(id);
    if (before?.stroke === strokes[id]) continue; // patched states share what did not change
    const points = pointsOf(strokes[id]);
    if (points.length !== before?.points) ink.draw(strokes[id], points, before ? before.points / 2 : 0);
    drawn.set(id, { stroke: strokes[id], points: points.length });
  }
  $("empty").hidden = ids.length > 0 || pen !== null;
}

function redraw() {
  drawn = new Map();
  ink.clear();
  show(board.state.getSnapshot()?.strokes ?? {});
  mine.clear();
  for (const stroke of Stroke.pending) mine.draw(stroke, stroke.points);
}

/** One stroke of this page, from the first touch until the server has all of it. */
class Stroke {
  /** Strokes that the state does not hold completely yet. */
  static pending = new Set();

  id = `s${Math.random().toString(36).slice(2, 12).padEnd(8, "0")}`;
  points = [];
  #sent = 0;
  #chunks = 0;
  #calls = [];
  #failed = false;
  #timer = setInterval(() => this.#send(), CHUNK_EVERY_MS);

  constructor(x, y) {
    this.color = color;
    this.size = size;
    this.points.push(x, y);
    Stroke.pending.add(this);
    mine.draw(this, this.points);
  }

  get full() {
    return this.#chunks >= MOST_CHUNKS;
  }

  to(x, y) {
    const [lastX, lastY] = this.points.slice(-2);
    if (Math.hypot(x - lastX, y - lastY) < LEAST_STEP) return;
    const from = this.points.length / 2;
    this.points.push(x, y);
    mine.draw(this, this.points, from);
  }

  async end() {
    clearInterval(this.#timer);
    const from = this.points.length / 2;
    if (from > 1) this.points.push(...this.points.slice(-2)); // twice: the line reaches it
    mine.draw(this, this.points, from);
    this.#send();
    await Promise.allSettled(this.#calls);
    Stroke.pending.delete(this); // the state holds it now, or never will
    mine.clear();
    for (const stroke of Stroke.pending) mine.draw(stroke, stroke.points);
  }

  #send() {
    while (this.#sent < this.points.length && !this.#failed) {
      const points = this.points.slice(this.#sent, this.#sent + 256);
      const first = this.#sent === 0;
      this.#sent += points.length;
      this.#chunks += 1;
      const input = first ? { stroke: this.id, color: this.color, size: this.size, points } : { stroke: this.id, points };
      this.#calls.push(this.#call(first ? board.begin(input) : board.extend(input)));
    }
  }

  async #call(call) {
    try {
      await call;
    } catch (error) {
      if (!this.#failed) toast(inWords(error));
      this.#failed = true;
    }
  }
}

let pen = null;
let lastCursorMs = 0;

/** Where a pointer is, in board units, kept on the board. */
function onBoard(event) {
  const box = $("board").getBoundingClientRect();
  const within = (value, most) => Math.max(0, Math.min(most, Math.round(value)));
  return [
    within(((event.clientX - box.left) / box.width) * BOARD_WIDTH, BOARD_WIDTH),
    within(((event.clientY - box.top) / box.height) * BOARD_HEIGHT, BOARD_HEIGHT),
  ];
}

function penDown(event) {
  if (pen !== null || event.button !== 0) return;
  event.preventDefault();
  $("board").setPointerCapture(event.pointerId);
  pen = new Stroke(...onBoard(event));
  $("empty").hidden = true;
}

function penMove(event) {
  const [x, y] = onBoard(event);
  const now = Date.now();
  if (now - lastCursorMs >= CURSOR_EVERY_MS && client.status === "open") {
    lastCursorMs = now;
    board.point({ x, y }).catch(() => {}); // the next one is better anyway
  }
  if (pen === null) return;
  const steps = event.getCoalescedEvents?.() ?? [];
  for (const step of steps.length > 0 ? steps : [event]) pen.to(...onBoard(step));
  if (pen.full) {
    pen.end();
    pen = new Stroke(x, y);
  }
}

function penUp() {
  pen?.end();
  pen = null;
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
  const width = Math.floor(Math.min(stage.width - 24, ((stage.height - 20) * BOARD_WIDTH) / BOARD_HEIGHT));
  $("board").style.width = `${width}px`;
  $("board").style.height = `${Math.floor((width * BOARD_HEIGHT) / BOARD_WIDTH)}px`;
  ink.resize(width - 2);
  mine.resize(width - 2);
  redraw();
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
$("board").addEventListener("pointerup", penUp);
$("board").addEventListener("pointercancel", penUp);
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
  show(state.strokes);
});
fit();
