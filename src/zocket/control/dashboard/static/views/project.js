/** One project: its head, its sections as tabs, and the section that the address names. */

import { make, update } from "../dom.js";
import { copyButton, empty, failure, pill, skeleton } from "../pieces.js";
import { store } from "../store.js";
import { projectWords } from "../words.js";
import { accessSection } from "./access.js";
import { deploymentSection } from "./deployment.js";
import { deploymentsSection } from "./deployments.js";
import { environmentSection } from "./environment.js";
import { logsSection } from "./logs.js";
import { overviewSection } from "./overview.js";
import { projectSettingsSection } from "./project_settings.js";
import { tokensSection } from "./tokens.js";

const SECTIONS = {
  overview: { text: "Overview", draw: overviewSection },
  deployments: { text: "Deployments", draw: deploymentsSection },
  logs: { text: "Logs", draw: logsSection },
  access: { text: "Access", draw: accessSection },
  environment: { text: "Environment", draw: environmentSection },
  tokens: { text: "Tokens", draw: tokensSection, role: "developer" },
  settings: { text: "Settings", draw: projectSettingsSection, role: "developer" },
};

export function projectPage(context) {
  const { area, params, signal, title } = context;
  const named = decodeURIComponent(params.project);
  const head = make("div", { className: "project-head" });
  const body = make("div", { className: "page-body" });
  update(area, head, body);
  let drawn = null;

  const show = () => {
    const project = store.project(named);
    if (!project) {
      drawn = null;
      showMissing(head, body, named);
      title(named);
      return;
    }
    if (!store.workspaces.value) return;
    const role = store.role(project.workspaceId) ?? "viewer";
    update(head, ...projectHead(project, params.section ?? "overview", role));
    if (drawn === project.id) return;
    drawn = project.id;
    body.replaceChildren();
    head.querySelector(".tabs [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
    drawSection({ ...context, area: body, role, projectId: project.id, base: base(project) }, project);
  };
  store.projects.watch(show, signal);
  store.workspaces.watch(show, signal);
  show();
}

function base(project) {
  return `/projects/${encodeURIComponent(store.slugOf(project))}`;
}

function showMissing(head, body, named) {
  const { value, error } = store.projects;
  update(head, make("header", { className: "page-head" }, make("h1", {}, value ? "No such project" : named)));
  if (value) {
    update(
      body,
      empty(
        "folder",
        "There is no such project, or you may not see it",
        make("a", { className: "button", href: "/" }, "To your projects"),
      ),
    );
  } else if (error) {
    update(body, failure(error, () => store.projects.refresh()));
  } else {
    update(body, skeleton(5));
  }
}

function drawSection(context, project) {
  const { params, area, title } = context;
  const section = SECTIONS[params.section ?? "overview"];
  if (!section) {
    update(area, empty("folder", "This address is no page of the dashboard"));
    title(project.name);
    return;
  }
  title(params.section ? `${section.text} · ${project.name}` : project.name);
  if (params.section === "deployments" && params.item) {
    deploymentSection(context);
  } else if (section.role && context.role === "viewer") {
    update(area, empty("lock", "This needs the role developer", make("p", {}, "Your role in this workspace is viewer.")));
  } else {
    section.draw(context);
  }
}

function projectHead(project, current, role) {
  const address = base(project);
  return [
    make(
      "header",
      { className: "page-head" },
      make("div", { className: "title-row" }, make("h1", {}, project.name), pill(projectWords(project.status))),
      project.url &&
        make(
          "div",
          { className: "copyline" },
          make("code", { id: "project-url" }, project.url),
          copyButton(project.url, "the socket address"),
        ),
    ),
    make(
      "nav",
      { className: "tabs", aria: { label: "Sections of the project" } },
      Object.entries(SECTIONS)
        .filter(([, section]) => !section.role || role !== "viewer")
        .map(([name, section]) =>
          make(
            "a",
            {
              href: name === "overview" ? address : `${address}/${name}`,
              aria: { current: name === current ? "page" : null },
            },
            section.text,
          ),
        ),
    ),
  ];
}
