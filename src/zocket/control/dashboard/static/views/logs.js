/** What runtimes write, as they write it: to be paused, searched, and followed at its end. */

import { path } from "../api.js";
import { make, update } from "../dom.js";
import { icon } from "../icons.js";
import { lineElement } from "../log_lines.js";
import { card, command, empty, follow } from "../pieces.js";
import { store } from "../store.js";
import { Stream } from "../stream.js";
import { deploymentWords, IN_PROGRESS } from "../words.js";

const MAX_LINES = 2_000;
/** What the server gives of the past. */
const MAX_PAST_LINES = 1_000;
const NEAR_END_PX = 40;
const SERVING = ["active", "deployed"];

/** A whole page of it, with a choice of the deployment. */
export function logsSection(context) {
  const { area, projectId, signal, query, go, base } = context;
  const picker = make("div", {});
  const place = make("div", { className: "column" });
  area.append(place);
  let shown = null;
  let leaving = null;
  follow(picker, [store.deployments(projectId), store.projects], signal, (list) => {
    const project = store.project(projectId);
    if (!project) return null;
    if (list.items.length === 0) {
      update(place, empty("terminal", "No log yet", make("p", {}, "It begins with the first deployment:"), command("zocket deploy")));
      return null;
    }
    const wanted = query.get("deployment");
    const chosen =
      list.items.find((deployment) => deployment.id === wanted) ??
      list.items.find((deployment) => deployment.id === project.activeDeployment) ??
      list.items[0];
    if (shown !== chosen.id) {
      shown = chosen.id;
      leaving?.abort();
      leaving = new AbortController();
      const stop = AbortSignal.any([signal, leaving.signal]);
      place.replaceChildren();
      logTail({ ...context, area: place, signal: stop, deployment: chosen, isTall: true, chooser: chooser() });
    }
    function chooser() {
      const select = make("select", { className: "field", aria: { label: "Deployment" } });
      select.append(
        ...list.items.map((deployment) =>
          make("option", {
            value: deployment.id,
            selected: deployment.id === chosen.id,
            textContent: `v${deployment.version} · ${deploymentWords(deployment.status).text}`,
          }),
        ),
      );
      select.onchange = () => go(`${base}/logs?deployment=${encodeURIComponent(select.value)}`, { replace: true });
      return select;
    }
    return null;
  });
}

/**
 * The log of one deployment in `area`.
 *
 * @param isTall it is what the page is about.
 * @param chooser changes the deployment.
 * @param address of the page about it; then only the end is shown here, without tools.
 */
export function logTail({ area, signal, deployment, limit = MAX_LINES, isTall = false, chooser = null, address = null }) {
  area.replaceChildren();
  const lines = [];
  let waiting = [];
  let isPaused = false;
  let hasRestarted = false; // while paused: what is shown stays until somebody goes on
  const output = make("div", {
    className: isTall ? "log tall" : "log",
    tabIndex: 0,
    attributes: { role: "log", "aria-live": "off" },
    aria: { label: `Log of version ${deployment.version}` },
  });
  const filter = make("input", {
    className: "field",
    type: "search",
    placeholder: "Filter",
    aria: { label: "Show only lines that contain" },
    attributes: { autocomplete: "off" },
    oninput: () => redraw(),
  });
  const streams = make("select", { className: "field", aria: { label: "Stream" }, onchange: () => redraw() });
  for (const [value, text] of [["", "All output"], ["stdout", "stdout"], ["stderr", "stderr"], ["platform", "Platform"]]) {
    streams.append(make("option", { value, textContent: text }));
  }
  const pause = make("button", { type: "button", className: "button", onclick: () => setPaused(!isPaused) });
  const toEnd = make("button", { type: "button", className: "button small to-end", hidden: true, onclick: () => scrollToEnd() });
  toEnd.append(icon("down"), "Newest");
  const state = make("span", { className: "note log-state", attributes: { role: "status" } });

  area.append(
    card(
      isTall ? "Log" : `Log of version ${deployment.version}`,
      { className: "log-card", actions: [state, address && make("a", { className: "button quiet", href: address }, "Open")] },
      !address && make("div", { className: "log-tools" }, chooser, filter, streams, pause),
      make("div", { className: "log-frame" }, output, toEnd),
    ),
  );

  function matches(entry) {
    const wanted = filter.value.trim().toLowerCase();
    return (!streams.value || entry.stream === streams.value) && (!wanted || entry.line.toLowerCase().includes(wanted));
  }

  function clear() {
    hasRestarted = false;
    lines.length = 0;
    redraw();
  }

  function redraw() {
    const shown = lines.filter(matches);
    output.replaceChildren(...shown.map(lineElement));
    if (shown.length === 0) {
      output.append(make("p", { className: "log-empty" }, lines.length > 0 ? "No line contains this." : "Nothing was written yet."));
    }
    scrollToEnd();
  }

  function add(entry) {
    lines.push(entry);
    if (lines.length > limit) lines.shift();
    if (!matches(entry)) return;
    const wasAtEnd = isAtEnd();
    output.querySelector(".log-empty")?.remove();
    output.append(lineElement(entry));
    while (output.childElementCount > limit) output.firstChild.remove();
    if (wasAtEnd) output.scrollTop = output.scrollHeight;
    else toEnd.hidden = false;
  }

  function receive(entry) {
    if (!entry || typeof entry.line !== "string") return;
    if (isPaused) {
      waiting.push(entry);
      if (waiting.length > limit) waiting.shift();
      showState();
    } else {
      add(entry);
    }
  }

  function isAtEnd() {
    return output.scrollHeight - output.scrollTop - output.clientHeight < NEAR_END_PX;
  }

  function scrollToEnd() {
    output.scrollTop = output.scrollHeight;
    toEnd.hidden = true;
  }

  function setPaused(paused) {
    isPaused = paused;
    pause.replaceChildren(icon(paused ? "play" : "pause"), paused ? "Resume" : "Pause");
    pause.setAttribute("aria-pressed", String(paused));
    if (!paused) {
      if (hasRestarted) clear();
      for (const entry of waiting) add(entry);
      waiting = [];
    }
    showState();
  }

  let streamStatus = "connecting";
  function showState() {
    const words = { connecting: "Connecting…", open: "Following", reconnecting: "Reconnecting…", ended: "The log's end" };
    state.textContent = isPaused ? `Paused, ${waiting.length} new` : words[streamStatus];
  }

  output.onscroll = () => {
    if (isAtEnd()) toEnd.hidden = true;
  };
  setPaused(false);
  redraw();
  const isOver = () => {
    const { status } = store.newest(deployment);
    return !SERVING.includes(status) && !IN_PROGRESS.includes(status);
  };
  const query = new URLSearchParams({ lines: Math.min(limit, MAX_PAST_LINES) });
  if (!isOver()) query.set("follow", "true");
  new Stream(`${path`/api/deployments/${deployment.id}/logs`}?${query}`, {
    signal,
    onStatus: (status) => {
      streamStatus = status;
      showState();
    },
    isOver,
    onOpen: () => {
      waiting = []; // the stream begins with the tail again
      if (isPaused) hasRestarted = true;
      else clear();
    },
    listeners: { message: receive, line: receive, log: receive },
  });
}
