/** All projects with their state and address; for a newcomer, the commands that lead to the first one. */

import { post } from "../api.js";
import { ask, showOnce } from "../dialogs.js";
import { make, update } from "../dom.js";
import { choice, field } from "../forms.js";
import { icon } from "../icons.js";
import { command, copyButton, empty, follow, pill, when } from "../pieces.js";
import { store } from "../store.js";
import { projectWords } from "../words.js";

export function projectsPage({ area, signal, title, go }) {
  title("Projects");
  const create = make("button", { type: "button", className: "button primary", onclick: () => createProject(go) });
  create.append(icon("add"), "New project");
  const list = make("div", { className: "page-body" });
  const actions = make("div", { className: "actions" });
  update(area, make("header", { className: "page-head" }, make("h1", {}, "Projects"), actions), list);
  follow(list, [store.projects, store.workspaces], signal, (projects, workspaces) => {
    const mayCreate = workspaces.some((workspace) => workspace.role !== "viewer");
    update(actions, mayCreate && projects.length > 0 && create);
    return projects.length > 0 ? cardsOf(projects, workspaces) : welcome(workspaces, mayCreate, go);
  });
}

function cardsOf(projects, workspaces) {
  const groups = workspaces
    .map((workspace) => [workspace, projects.filter((project) => project.workspaceId === workspace.id)])
    .filter(([, own]) => own.length > 0);
  return groups.map(([workspace, own]) =>
    make(
      "section",
      { className: "group", data: { key: workspace.id } },
      groups.length > 1 && make("h2", { className: "label" }, workspace.name),
      make("ul", { className: "project-cards" }, own.map(projectCard)),
    ),
  );
}

function projectCard(project) {
  const address = `/projects/${encodeURIComponent(store.slugOf(project))}`;
  return make(
    "li",
    { className: "project-card", data: { key: project.id } },
    make(
      "div",
      { className: "project-card-head" },
      make("h3", {}, make("a", { href: address, className: "cover" }, project.name)),
      pill(projectWords(project.status)),
    ),
    project.url
      ? make("p", { className: "copyline" }, make("code", {}, project.url), copyButton(project.url, `the address of ${project.name}`))
      : make("p", { className: "note" }, "No address yet"),
    make("p", { className: "note foot" }, project.slug, " · created ", when(project.createdAt)),
  );
}

function welcome(workspaces, mayCreate, go) {
  if (!mayCreate) {
    return empty(
      "folder",
      workspaces.length > 0 ? "No project here yet" : "You are in no workspace yet",
      make("p", {}, "An owner or developer of the workspace creates projects; you see them here as soon as they exist."),
    );
  }
  return make(
    "div",
    { className: "welcome" },
    make("h2", {}, "Your first project"),
    make("p", { className: "lead" }, "Write one actor class, deploy it, and watch it here."),
    make(
      "ol",
      { className: "steps" },
      step("Start an app", command("zocket init my-app && cd my-app"), "One actor, a page for it, a test."),
      step("Sign the command line in", command(signInCommand()), "It opens a page of this dashboard, where you approve it."),
      step("Create its project", command('zocket link --create "My app"'), "It belongs to this directory from then on."),
      step("Deploy it", command("zocket deploy"), "It packs the app, uploads it, and tells when it serves."),
    ),
    make(
      "p",
      { className: "note" },
      "You can also ",
      make("button", { type: "button", className: "text-button", onclick: () => createProject(go) }, "create a project here"),
      " and link it later.",
    ),
  );
}

/** The command that signs a machine in here. */
export function signInCommand() {
  return `zocket auth login ${location.origin}`;
}

export function step(title, what, text) {
  return make("li", {}, make("h3", {}, title), what, make("p", { className: "note" }, text));
}

async function createProject(go) {
  const homes = (store.workspaces.value ?? []).filter((workspace) => workspace.role !== "viewer");
  const created = await ask("New project", {
    action: "Create project",
    fields: [
      field("name", "Name", { attributes: { maxlength: "100" }, placeholder: "Map team" }),
      field("slug", "Slug", {
        optional: true,
        hint: "In addresses and commands: lower-case letters, digits and hyphens. Made from the name if left out.",
        attributes: { pattern: "[a-z0-9](?:[a-z0-9\\-]{0,61}[a-z0-9])?", title: "Lower-case letters, digits and hyphens" },
      }),
      homes.length > 1 &&
        choice("workspaceId", "Workspace", homes.map((workspace) => [workspace.id, workspace.name]), homes[0].id),
    ],
    send: async ({ name, slug, workspaceId }) => {
      const body = { name, workspaceId: workspaceId ?? homes[0]?.id };
      if (slug) body.slug = slug;
      return post("/api/projects", body);
    },
  });
  if (!created) return;
  await store.projects.refresh();
  await showOnce("The first deploy token", {
    secret: created.deployToken,
    what: "the deploy token",
    text: `A pipeline deploys ${created.name} with it. You yourself need none: the command line is signed in as you.`,
  });
  go(`/projects/${encodeURIComponent(store.slugOf(created))}`);
}
