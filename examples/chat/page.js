/** The chat's page: shows the room that the address names, and keeps what people see in step with the actors. */

import { connect, gatewayUrl } from "/zocket.js";

import { attempt, avatar, hueOf, inWords, make, placeFromHash, showStatus, slug, toast } from "./ui.js";

/** Messages of one author in this time stand together under one head. */
const TOGETHER_MS = 5 * 60_000;
/** The others are told at most this often that somebody types… */
const KEYSTROKE_EVERY_MS = 2_000;
/** …and show it for this long. */
const TYPING_SHOWN_MS = 3_500;

const $ = (id) => document.getElementById(id);
const clockTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayName = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

const client = connect(await gatewayUrl());
const lobby = client.actor("lobby", "main");
const unread = new Set();
const mySessions = new Set(JSON.parse(sessionStorage.getItem("sessions") ?? "[]"));
let myName = localStorage.getItem("name") ?? `Guest ${Math.floor(100 + Math.random() * 900)}`;
let room = null;

showStatus(client, $("status"));
client.onError((error) => toast(inWords(error)));

/** One room on the screen, from entering to leaving it. */
class Room {
  #ends = [];
  #shown = []; // the messages on the screen: patched states share unchanged ones, so === finds what is new
  #joining = null; // the join in progress
  #typing = new Map();
  #lastKeystrokeMs = 0;

  constructor(id) {
    this.id = id;
    this.actor = client.actor("chat", id);
    this.#ends.push(
      this.actor.state.subscribe((state) => this.#show(state)),
      this.actor.on("typing", (typing) => this.#showTyping(typing)),
    );
    joinOrSay(this);
  }

  /** Also after a reconnect or a restart of the server, which know this page as a guest only. */
  join() {
    this.#joining ??= this.#join().finally(() => (this.#joining = null));
    return this.#joining;
  }

  async #join() {
    let name;
    while (name !== myName) {
      name = myName; // may be another one by the time the answer is here
      await this.actor.join({ name });
    }
  }

  leave() {
    for (const end of this.#ends) end();
    for (const { timer } of this.#typing.values()) clearTimeout(timer);
    if (client.status === "open") this.actor.leave().catch(() => {}); // a lost connection leaves by itself
  }

  async post(text) {
    this.#lastKeystrokeMs = 0;
    if (client.status !== "open") await this.join(); // or the new connection would post as a guest
    await this.actor.post({ text });
    lobby.announce({ room: this.id }).catch(() => {}); // only a dot beside the room's name
  }

  keystroke() {
    const now = Date.now();
    if (now - this.#lastKeystrokeMs < KEYSTROKE_EVERY_MS || client.status !== "open") return;
    this.#lastKeystrokeMs = now;
    this.actor.keystroke().catch(() => {}); // worth nothing a second later
  }

  #show(state) {
    rememberSession();
    const me = state.online[client.id];
    if (client.id !== undefined && me?.name !== myName) joinOrSay(this);
    showPeople(state.online);
    this.#showMessages(state.messages);
    $("empty").hidden = state.messages.length > 0;
    $("messages").classList.toggle("gone", state.messages.length === 0);
  }

  #showMessages(messages) {
    const list = $("messages");
    const log = $("log");
    const first = this.#shown.length === 0;
    const atEnd = first || log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    let same = 0;
    while (same < this.#shown.length && this.#shown[same] === messages[same]) same += 1;
    const fresh = messages.slice(same);
    if (same === this.#shown.length && fresh.length === 0) return;
    const replaced = same < this.#shown.length;
    const rows = replaced ? rowsOf(messages, 0) : rowsOf(messages, same);
    if (replaced) list.replaceChildren(...rows);
    else list.append(...rows);
    if (!first && !replaced) rows.forEach((row) => row.classList.add("arriving"));
    this.#shown = messages;
    for (const message of fresh) this.#stopTyping(message.session);
    const mine = mySessions.has(messages.at(-1)?.session);
    if (atEnd || mine) scrollToEnd();
    else if (fresh.length > 0) $("newer").hidden = false;
  }

  #showTyping({ session, name }) {
    clearTimeout(this.#typing.get(session)?.timer);
    this.#typing.set(session, { name, timer: setTimeout(() => this.#stopTyping(session), TYPING_SHOWN_MS) });
    showTypingNames([...this.#typing.values()].map((typing) => typing.name));
  }

  #stopTyping(session) {
    clearTimeout(this.#typing.get(session)?.timer);
    if (this.#typing.delete(session)) showTypingNames([...this.#typing.values()].map((typing) => typing.name));
  }
}

/** A join in the background: after a lost connection the next snapshot leads to another one. */
function joinOrSay(room) {
  room.join().catch((error) => {
    if (error.code !== "disconnected") toast(inWords(error));
  });
}

/** What this page wrote stays its own after a reconnect, when the server gives it another session. */
function rememberSession() {
  if (client.id === undefined || mySessions.has(client.id)) return;
  mySessions.add(client.id);
  sessionStorage.setItem("sessions", JSON.stringify([...mySessions].slice(-50)));
}

function rowsOf(messages, from) {
  const rows = [];
  for (let at = from; at < messages.length; at += 1) {
    const [before, message] = [messages[at - 1], messages[at]];
    const newDay = !before || dayOf(before.sent_at_ms) !== dayOf(message.sent_at_ms);
    if (newDay) rows.push(make("li", { className: "day", textContent: dayOf(message.sent_at_ms) }));
    const follows =
      !newDay &&
      before.session === message.session &&
      before.author === message.author &&
      message.sent_at_ms - before.sent_at_ms < TOGETHER_MS;
    rows.push(follows ? followingRow(message) : headRow(message));
  }
  return rows;
}

function headRow(message) {
  const head = make("div", { className: "head" }, make("span", { className: "author", textContent: message.author }));
  if (mySessions.has(message.session)) head.append(make("span", { className: "you", textContent: "you" }));
  head.append(timeOf(message));
  const text = make("p", { className: "text", textContent: message.text });
  const row = make("li", { className: "message" }, avatar(message.author), make("div", {}, head, text));
  row.style.setProperty("--hue", hueOf(message.author));
  return row;
}

function followingRow(message) {
  const text = make("p", { className: "text", textContent: message.text });
  return make("li", { className: "message following" }, timeOf(message), text);
}

function timeOf(message) {
  const date = new Date(message.sent_at_ms);
  return make("time", { dateTime: date.toISOString(), title: date.toLocaleString(), textContent: clockTime.format(date) });
}

function dayOf(ms) {
  const date = new Date(ms);
  return date.toDateString() === new Date().toDateString() ? "Today" : dayName.format(date);
}

function showPeople(online) {
  const people = Object.entries(online).sort(
    ([a, { name: nameA }], [b, { name: nameB }]) =>
      Number(b === client.id) - Number(a === client.id) || nameA.localeCompare(nameB),
  );
  $("people-count").textContent = people.length;
  $("people-list").replaceChildren(
    ...people.map(([session, { name }]) => {
      const row = make("li", {}, avatar(name), make("span", { className: "name", textContent: name }));
      if (session === client.id) row.append(make("span", { className: "you", textContent: "you" }));
      return row;
    }),
  );
  const faces = people.slice(0, 3).map(([, { name }]) => avatar(name));
  if (people.length > 3) faces.push(make("span", { className: "more", textContent: `+${people.length - 3}` }));
  $("open-people").replaceChildren(...faces);
  $("open-people").setAttribute("aria-label", `Who is online: ${people.length}`);
}

function showTypingNames(names) {
  const line = $("typing");
  if (names.length === 0) return line.replaceChildren();
  const who = names.length > 2 ? "Several people are" : `${names.join(" and ")} ${names.length > 1 ? "are" : "is"}`;
  const dots = make("span", { className: "dots" }, make("i"), make("i"), make("i"));
  dots.setAttribute("aria-hidden", "true");
  line.replaceChildren(dots, `${who} typing…`);
}

function showRooms(state) {
  const names = state.rooms.includes(room.id) ? state.rooms : [...state.rooms, room.id];
  $("rooms").replaceChildren(
    ...names.map((name) => {
      const link = make("a", { href: `#${name}` }, make("span", { className: "name", textContent: name }));
      if (name === room.id) link.setAttribute("aria-current", "page");
      if (unread.has(name)) {
        link.classList.add("unread");
        link.append(make("span", { className: "dot", title: "New messages" }));
      }
      return make("li", {}, link);
    }),
  );
  $("elsewhere").hidden = unread.size === 0;
  if (names !== state.rooms && client.status === "open") lobby.open({ room: room.id }).catch(() => {});
}

function refreshRooms() {
  const state = lobby.state.getSnapshot();
  if (state !== undefined) showRooms(state);
}

function enter() {
  const id = placeFromHash("general");
  closeDrawers();
  if (room?.id === id) return;
  room?.leave();
  unread.delete(id);
  for (const area of ["messages", "people-list", "typing", "open-people"]) $(area).replaceChildren();
  $("empty").hidden = true;
  $("newer").hidden = true;
  $("title").textContent = id;
  $("text").placeholder = `Message #${id}`;
  document.title = `#${id} · Zocket chat`;
  room = new Room(id);
  refreshRooms();
}

function scrollToEnd() {
  $("log").scrollTop = $("log").scrollHeight;
  $("newer").hidden = true;
}

function rename(name) {
  myName = name;
  localStorage.setItem("name", name);
  $("my-name").value = name;
  $("my-avatar").replaceChildren(avatar(name));
}

function fitComposer() {
  const field = $("text");
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
  $("send").disabled = field.value.trim() === "";
}

async function send() {
  const text = $("text").value.trim();
  if (text === "") return;
  $("text").value = "";
  fitComposer();
  const waiting = make("li", { className: "waiting", textContent: text });
  $("waiting").append(waiting); // shows itself only if the answer takes long
  try {
    await room.post(text);
  } catch (error) {
    toast(inWords(error));
    if ($("text").value === "") $("text").value = text; // nothing that was written is lost
    fitComposer();
  }
  waiting.remove();
}

function openDrawer(name) {
  const app = document.querySelector(".app");
  const open = app.classList.toggle(`open-${name}`);
  $(`open-${name}`).setAttribute("aria-expanded", String(open));
  if (open) $(name).querySelector("a")?.focus();
}

function closeDrawers() {
  for (const name of ["sidebar", "people"]) {
    if ($(name).contains(document.activeElement)) $(`open-${name}`).focus();
    document.querySelector(".app").classList.remove(`open-${name}`);
    $(`open-${name}`).setAttribute("aria-expanded", "false");
  }
}

function stepRoom(step) {
  const links = [...$("rooms").querySelectorAll("a")];
  const at = links.findIndex((link) => link.hasAttribute("aria-current"));
  location.hash = links.at((at + step) % links.length)?.getAttribute("href") ?? "";
}

addEventListener("hashchange", enter);
addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeDrawers();
  if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
    event.preventDefault();
    stepRoom(event.key === "ArrowUp" ? -1 : 1);
  }
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // what stands behind # in the address is the room
  $("text").focus();
});
$("open-sidebar").addEventListener("click", () => openDrawer("sidebar"));
$("open-people").addEventListener("click", () => openDrawer("people"));
$("veil").addEventListener("click", closeDrawers);
$("newer").addEventListener("click", scrollToEnd);
$("log").addEventListener("scroll", () => {
  const log = $("log");
  if (log.scrollHeight - log.scrollTop - log.clientHeight < 80) $("newer").hidden = true;
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("text").addEventListener("input", () => {
  fitComposer();
  if ($("text").value.trim() !== "") room.keystroke();
});
$("text").addEventListener("keydown", (event) => {
  // While an input method composes a word, Enter accepts the word.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
$("new-room").addEventListener("submit", async (event) => {
  event.preventDefault();
  const id = slug($("new-room-name").value);
  if (id === "") return toast("A room's name has letters or digits.");
  $("new-room-name").value = "";
  await attempt(lobby.open({ room: id }));
  location.hash = id;
});
$("me").addEventListener("submit", (event) => {
  event.preventDefault();
  $("my-name").blur();
});
$("my-name").addEventListener("blur", () => {
  const name = $("my-name").value.trim();
  const changed = name !== "" && name !== myName;
  rename(changed ? name : myName);
  if (changed) joinOrSay(room);
});

rename(myName);
enter();
lobby.state.subscribe(showRooms);
lobby.on("activity", ({ room: where }) => {
  if (where === room.id) return;
  unread.add(where);
  refreshRooms();
});
if (matchMedia("(pointer: fine)").matches) $("text").focus();
