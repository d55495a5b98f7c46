/** One deployment: what it is, what happened to it and when, why it failed, what its runtime wrote. */

import { make } from "../dom.js";
import { icon } from "../icons.js";
import { card, copyButton, facts, follow, pill, when } from "../pieces.js";
import { store } from "../store.js";
import { bytes, deploymentWords, exactly, IN_PROGRESS, messageOf } from "../words.js";
import { isReturnable, progressSteps, reasonBlock, rollBack } from "./deployments.js";
import { logTail } from "./logs.js";

export function deploymentSection(context) {
  const { area, params, signal, base, role, projectId, title } = context;
  const resource = store.deployment(decodeURIComponent(params.item));
  const about = make("div", { className: "column" });
  const tail = make("div", { className: "column" });
  area.append(
    make("a", { className: "back", href: `${base}/deployments` }, icon("back"), "All deployments"),
    about,
    tail,
  );
  let isTailed = false;
  follow(
    about,
    [resource, store.projects],
    signal,
    (deployment) => {
      const project = store.project(projectId);
      if (!project) return null;
      title(`Version ${deployment.version} · ${project.name}`);
      if (!isTailed) {
        isTailed = true;
        logTail({ ...context, area: tail, deployment });
      }
      return [headCard(deployment, project, role), historyCard(deployment)];
    },
    6,
  );
}

function headCard(deployment, project, role) {
  const words = deploymentWords(deployment.status);
  const canReturn = role !== "viewer" && isReturnable(deployment, project);
  return card(
    `Version ${deployment.version}`,
    {
      key: "about",
      note: messageOf(deployment),
      actions: [
        pill(words),
        canReturn &&
          make("button", { type: "button", className: "button", onclick: () => rollBack(project, deployment) }, icon("history"), "Roll back to it"),
      ],
    },
    IN_PROGRESS.includes(deployment.status) && progressSteps(deployment.status),
    deployment.reason &&
      make("div", { className: "failed-why" }, make("h3", {}, "Why it failed"), reasonBlock(deployment, { isOpen: true })),
    deployment.message?.includes("\n") && make("p", { className: "whole-message" }, deployment.message),
    facts([
      ["By", deployment.author ?? "unknown"],
      ["Uploaded", when(deployment.createdAt)],
      deployment.actorTypes?.length > 0 && ["Actor types", deployment.actorTypes.join(", ")],
      ["Bundle", bytes(deployment.size) + (deployment.signed ? ", signed" : "")],
      deployment.sha256 && [
        "SHA-256",
        make(
          "span",
          { className: "copyline bare" },
          make("code", { title: deployment.sha256 }, `${deployment.sha256.slice(0, 16)}…`),
          copyButton(deployment.sha256, "the checksum"),
        ),
      ],
    ]),
  );
}

function historyCard(deployment) {
  return card(
    "History",
    { key: "history" },
    make(
      "ol",
      { className: "timeline" },
      (deployment.history ?? []).map((entry, index) => {
        const words = deploymentWords(entry.status);
        const before = deployment.history[index - 1];
        const isLast = index === deployment.history.length - 1;
        return make(
          "li",
          { data: { key: `${index}`, tone: isLast || words.tone !== "busy" ? words.tone : "calm" } },
          make(
            "p",
            { className: "timeline-head" },
            make("strong", {}, words.text),
            make("time", { className: "note", dateTime: new Date(entry.at).toISOString() }, exactly(entry.at)),
            before && make("span", { className: "note" }, took(entry.at - before.at)),
          ),
          make("p", { className: "note" }, [detailText(entry, deployment), entry.by].filter(Boolean).join(" · ")),
        );
      }),
    ),
  );
}

function detailText(entry, deployment) {
  const detail = entry.detail && entry.detail !== deployment.reason ? entry.detail : "";
  return (detail || deploymentWords(entry.status).note).split("\n")[0];
}

function took(ms) {
  if (ms < 1_000) return `+${ms} ms`;
  if (ms < 60_000) return `+${(ms / 1_000).toFixed(1)} s`;
  return "";
}
