/** The deployments of a project, newest first, and the pieces that show one of them. */

import { path, post } from "../api.js";
import { confirm } from "../dialogs.js";
import { classes, make } from "../dom.js";
import { icon } from "../icons.js";
import { card, command, empty, follow, pill, toast, when } from "../pieces.js";
import { store } from "../store.js";
import { deploymentWords, IN_PROGRESS, messageOf } from "../words.js";

const STEPS = [
  ["stored", "Stored"],
  ["starting", "Starting"],
  ["smoke", "Checking"],
  ["active", "Active"],
];

export function deploymentsSection({ area, projectId, signal, base, role }) {
  const deployments = store.deployments(projectId);
  follow(
    area,
    [deployments, store.projects],
    signal,
    (list) => {
      const project = store.project(projectId);
      if (!project) return null;
      if (list.items.length === 0) {
        return empty("bolt", "No deployment yet", make("p", {}, "In the directory of your app:"), command("zocket deploy"));
      }
      const earlier = list.items.find((deployment) => isReturnable(deployment, project));
      return [
        card(
          "Deployments",
          {
            key: "all",
            note: "Each one takes over only when it is healthy; until then the one before serves.",
            actions: [role !== "viewer" && earlier && project.activeDeployment && backButton(earlier, project)],
          },
          make(
            "ul",
            { className: "rows" },
            list.items.map((deployment) => deploymentRow(deployment, { base, role, project, isFull: true })),
          ),
        ),
        list.next && make("button", { type: "button", className: "button center", onclick: () => deployments.more() }, "Show earlier ones"),
      ];
    },
    6,
  );
}

function backButton(earlier, project) {
  const button = make(
    "button",
    { type: "button", className: "button", onclick: () => rollBack(project, earlier) },
    icon("history"),
    `Roll back to v${earlier.version}`,
  );
  return button;
}

/** Whether traffic can be given back to it: it served once, and its bundle is still there. */
export function isReturnable(deployment, project) {
  const hasServed = (deployment.history ?? []).some((entry) => entry.status === "active");
  const isOver = !IN_PROGRESS.includes(deployment.status) && deployment.id !== project.activeDeployment;
  return hasServed && isOver && deployment.rollback !== false;
}

/** One deployment in a list. */
export function deploymentRow(deployment, { base, role, project, isFull = false }) {
  const address = `${base}/deployments/${encodeURIComponent(deployment.id)}`;
  const isServing = deployment.id === project.activeDeployment;
  return make(
    "li",
    { className: classes("row wraps", isServing && "serving-row"), data: { key: deployment.id, deployment: deployment.version } },
    make("span", { className: "version" }, `v${deployment.version}`),
    make(
      "div",
      { className: "row-main" },
      make("p", { className: "message" }, make("a", { href: address }, messageOf(deployment))),
      make("p", { className: "note" }, deployment.author ?? "unknown", " · ", when(deployment.createdAt)),
      isFull && IN_PROGRESS.includes(deployment.status) && progressSteps(deployment.status),
      isFull && reasonBlock(deployment),
    ),
    make(
      "div",
      { className: "row-end" },
      pill(deploymentWords(deployment.status)),
      isFull &&
        role !== "viewer" &&
        isReturnable(deployment, project) &&
        make(
          "button",
          {
            type: "button",
            className: "button small",
            aria: { label: `Roll back to version ${deployment.version}` },
            onclick: () => rollBack(project, deployment),
          },
          "Roll back",
        ),
    ),
  );
}

/** Why it failed; a message of several lines keeps its shape behind its first line. */
export function reasonBlock(deployment, { isOpen = false } = {}) {
  if (!deployment.reason) return null;
  const lines = deployment.reason.trimEnd().split("\n");
  const last = lines.findLast((line) => line.trim() !== "") ?? "";
  const summary = lines.length > 1 && lines[0].startsWith("Traceback") ? last : lines[0];
  if (lines.length === 1 && summary.length < 160) return make("p", { className: "reason" }, summary);
  return make(
    "details",
    { className: "reason", open: isOpen },
    make("summary", {}, summary),
    make("pre", { tabIndex: 0, aria: { label: "The whole reason" } }, deployment.reason.trimEnd()),
  );
}

/** How far a deployment is. */
export function progressSteps(status) {
  const reached = STEPS.findIndex(([name]) => name === status);
  return make(
    "ol",
    { className: "progress", aria: { label: "Progress" } },
    STEPS.map(([, text], index) =>
      make(
        "li",
        {
          data: { step: index < reached ? "done" : index === reached ? "now" : "later" },
          aria: { current: index === reached ? "step" : null },
        },
        text,
      ),
    ),
  );
}

/** Asks, then gives the traffic back to an earlier deployment. */
export async function rollBack(project, deployment) {
  const done = await confirm(`Roll back to version ${deployment.version}?`, {
    text: [
      make("p", {}, `“${messageOf(deployment)}” by ${deployment.author ?? "unknown"} serves ${project.name} again.`),
      make("p", {}, "It starts beside what serves now and takes over when it is healthy. Sockets stay open."),
    ],
    action: "Roll back",
    act: () => post(path`/api/projects/${project.id}/rollback`, { deploymentId: deployment.id }),
  });
  if (!done) return;
  toast(`Rolling back to version ${deployment.version}.`);
  store.deployments(project.id).touch();
  store.projects.touch();
}
