/** What the project does right now: counters, its runtime, what serves it, what was deployed last, the log's end. */

import { make, update } from "../dom.js";
import { icon } from "../icons.js";
import { card, command, facts, follow, pill, sparkline, when } from "../pieces.js";
import { store } from "../store.js";
import { count, deploymentWords, duration, IN_PROGRESS, messageOf, runtimeWords } from "../words.js";
import { deploymentRow, progressSteps, reasonBlock } from "./deployments.js";
import { logTail } from "./logs.js";
import { signInCommand, step } from "./projects.js";

const RECENT = 5;
const TAIL_LINES = 200;

const TILES = [
  ["sessions", "Sessions", "Open sockets", false],
  ["instances", "Instances", "Actors in memory", false],
  ["callsPerS", "Calls / s", "Answered calls", true],
  ["errorsPerS", "Errors / s", "Calls that ended in an error", true],
];

export function overviewSection(context) {
  const { area, projectId, signal, base, role } = context;
  const status = store.status(projectId);
  const deployments = store.deployments(projectId);
  const notice = make("div", { className: "notice-area" });
  const tiles = make("div", { className: "tiles" });
  const left = make("div", { className: "column" });
  const right = make("div", { className: "column" });
  const recent = make("div", {});
  const runtime = make("div", {});
  const tail = make("div", { className: "column" });
  left.append(recent);
  right.append(runtime, tail);
  area.append(notice, tiles, make("div", { className: "columns" }, left, right));

  status.watch(() => update(tiles, TILES.map((tile) => tileOf(tile, status))), signal);
  update(tiles, TILES.map((tile) => tileOf(tile, status)));
  follow(runtime, [status], signal, (value) => runtimeCard(value));
  let tailed = null;
  follow(
    recent,
    [deployments, store.projects],
    signal,
    (list) => {
      const project = store.project(projectId);
      if (!project) return null;
      const serving = list.items.find((deployment) => deployment.id === project.activeDeployment);
      const newest = list.items[0];
      update(notice, noticeOf(newest, serving, base));
      area.classList.toggle("is-empty", !newest);
      if (!newest) return firstSteps(project);
      const shown = serving ?? newest;
      if (tailed !== shown.id) {
        tailed = shown.id;
        logTail({ ...context, area: tail, deployment: shown, limit: TAIL_LINES, address: `${base}/logs` });
      }
      return [
        serving && servingCard(serving, base),
        card(
          "Recent deployments",
          { key: "recent", actions: [make("a", { className: "button quiet", href: `${base}/deployments` }, "All")] },
          make(
            "ul",
            { className: "rows" },
            list.items.slice(0, RECENT).map((deployment) => deploymentRow(deployment, { base, role, project })),
          ),
        ),
      ];
    },
    6,
  );
}

function tileOf([name, label, title, isRate], status) {
  const value = status.value?.counters?.[name];
  const values = status.history.map((counters) => counters[name] ?? 0);
  const isBad = name === "errorsPerS" && value > 0;
  return make(
    "div",
    { className: "tile", title, data: { key: name, tone: isBad ? "bad" : null } },
    make("p", { className: "label" }, label),
    make("p", { className: "number", data: { counter: name } }, count(value, { isRate })),
    sparkline(values, name === "errorsPerS" ? "danger" : "accent"),
  );
}

function runtimeCard({ runtime }) {
  const isUp = runtimeWords(runtime.state).tone === "good";
  return card(
    "Runtime",
    { key: "runtime", actions: [pill(runtimeWords(runtime.state))] },
    facts([
      runtime.since && [isUp ? "Up for" : "Since", isUp ? upFor(runtime.since) : when(runtime.since)],
      ["Process", runtime.pid == null ? "–" : make("code", {}, String(runtime.pid))],
      ["Restarts", make("span", { className: runtime.restarts > 0 ? "attention" : "" }, String(runtime.restarts ?? 0))],
      runtime.lastExit && ["Last exit", exitText(runtime.lastExit)],
    ]),
  );
}

function upFor(since) {
  return make("span", { title: new Date(since).toLocaleString() }, duration(Date.now() - since));
}

function exitText(exit) {
  const code = exit.code == null ? "it ended" : exit.code < 0 ? `signal ${-exit.code}` : `code ${exit.code}`;
  return make("span", {}, exit.message || code, make("span", { className: "note" }, " · ", when(exit.at)));
}

function noticeOf(newest, serving, base) {
  if (!newest) return null;
  const words = deploymentWords(newest.status);
  const link = make("a", { href: `${base}/deployments/${newest.id}` }, `Version ${newest.version}`);
  if (newest.status === "failed") {
    return make(
      "section",
      { className: "notice bad", data: { key: newest.id }, attributes: { role: "status" } },
      make(
        "p",
        { className: "notice-title" },
        icon("alert"),
        make(
          "span",
          {},
          link,
          serving ? ` failed. Version ${serving.version} serves on, untouched.` : " failed. Nothing serves yet.",
        ),
      ),
      reasonBlock(newest, { isOpen: true }),
    );
  }
  if (IN_PROGRESS.includes(newest.status)) {
    return make(
      "section",
      { className: "notice", data: { key: newest.id }, attributes: { role: "status" } },
      make("p", { className: "notice-title" }, make("span", {}, link, `: ${words.note}`)),
      progressSteps(newest.status),
    );
  }
  return null;
}

function servingCard(deployment, base) {
  return card(
    "Serving now",
    {
      key: "serving",
      actions: [make("a", { className: "button quiet", href: `${base}/deployments/${deployment.id}` }, "Details")],
    },
    make(
      "div",
      { className: "serving" },
      make("span", { className: "version big" }, `v${deployment.version}`),
      make(
        "div",
        {},
        make("p", { className: "message" }, messageOf(deployment)),
        make("p", { className: "note" }, deployment.author ?? "unknown", " · ", when(deployment.createdAt)),
      ),
    ),
    deployment.actorTypes?.length > 0 &&
      make(
        "ul",
        { className: "chips", aria: { label: "Actor types" } },
        deployment.actorTypes.map((name) => make("li", {}, make("code", {}, name))),
      ),
  );
}

function firstSteps(project) {
  return make(
    "div",
    { className: "welcome" },
    make("h2", {}, "Nothing is deployed here yet"),
    make("p", { className: "lead" }, "In the directory of your app:"),
    make(
      "ol",
      { className: "steps" },
      step("Sign the command line in", command(signInCommand()), "Once on each machine."),
      step("Link the directory to this project", command(`zocket link ${project.slug}`), "No app yet? zocket init starts one."),
      step("Deploy it", command("zocket deploy"), "This page shows how it starts, and goes on by itself."),
    ),
  );
}
