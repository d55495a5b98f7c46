/** One's account: password, command lines that are signed in, new workspaces; for administrators, internal tokens. */

import { post } from "../api.js";
import { ask } from "../dialogs.js";
import { make, update } from "../dom.js";
import { choice, field, form } from "../forms.js";
import { icon } from "../icons.js";
import { avatar, card, follow, toast } from "../pieces.js";
import { store } from "../store.js";
import { sentence } from "../words.js";
import { tokenCard } from "./tokens.js";

export function settingsPage({ area, signal, title, go }) {
  title("Account");
  const { user, methods } = store.session;
  const left = make("div", { className: "column" });
  const right = make("div", { className: "column" });
  update(
    area,
    make(
      "header",
      { className: "page-head" },
      make(
        "div",
        { className: "title-row" },
        avatar(user.name || user.email),
        make("div", {}, make("h1", {}, user.name || user.email), make("p", { className: "note" }, user.email)),
      ),
    ),
    make("div", { className: "page-body" }, make("div", { className: "columns" }, left, right)),
  );
  tokenCard({
    area: left,
    signal,
    list: "/api/auth/cli-tokens",
    title: "Command lines",
    note: "Machines on which zocket auth login signed you in. Each may do what you may.",
    none: "No command line is signed in",
  });
  if (user.isAdmin) left.append(internalTokens(signal));
  const spaces = make("div", {});
  right.append(spaces);
  if (methods.includes("password")) right.append(passwordCard());
  follow(spaces, [store.workspaces], signal, (workspaces) => workspacesCard(workspaces, go));
}

function workspacesCard(workspaces, go) {
  const add = make("button", { type: "button", className: "button", onclick: () => createWorkspace(go) }, icon("add"), "New");
  return card(
    "Workspaces",
    { key: "workspaces", actions: [add], note: "Projects and the people who share them." },
    make(
      "ul",
      { className: "rows" },
      workspaces.map((workspace) =>
        make(
          "li",
          { className: "row", data: { key: workspace.id } },
          make(
            "div",
            { className: "row-main" },
            make(
              "p",
              { className: "message" },
              make("a", { href: `/settings/workspaces/${encodeURIComponent(workspace.id)}` }, workspace.name),
            ),
          ),
          make("span", { className: "note" }, sentence(workspace.role)),
        ),
      ),
    ),
  );
}

async function createWorkspace(go) {
  const created = await ask("New workspace", {
    action: "Create workspace",
    fields: [field("name", "Name", { attributes: { maxlength: "100" } })],
    send: (values) => post("/api/workspaces", values),
  });
  if (!created) return;
  await store.workspaces.refresh();
  go(`/settings/workspaces/${encodeURIComponent(created.id)}`);
}

function passwordCard() {
  return card(
    "Password",
    { note: "A change signs out every other browser and every command line." },
    form(
      [
        make("input", { type: "text", hidden: true, value: store.session.user.email, attributes: { autocomplete: "username" } }),
        field("current", "Password so far", { type: "password", attributes: { autocomplete: "current-password" } }),
        field("new", "New password", {
          type: "password",
          hint: "At least 12 characters.",
          attributes: { autocomplete: "new-password", minlength: "12" },
        }),
      ],
      {
        submit: "Change password",
        tone: "",
        send: async (values, element) => {
          await post("/api/auth/password", values);
          element.reset();
          toast("The password is changed.");
        },
      },
    ),
  );
}

function internalTokens(signal) {
  const place = make("div", { className: "column" });
  tokenCard({
    area: place,
    signal,
    list: "/api/internal-tokens",
    title: "Gateways and runtimes",
    note: "Internal tokens of this installation: one for each gateway, and for each runtime that you run yourself.",
    none: "No internal token",
    about: (token) => `${token.kind === "gateway" ? "gateway" : `runtime of ${projectName(token.projectId)}`} · `,
    create: {
      action: "New internal token",
      fields: () => [
        field("name", "Name", { attributes: { maxlength: "100" }, placeholder: "gateway in Frankfurt" }),
        choice(
          "scope",
          "For",
          [["gateway", "A gateway"], ...(store.projects.value ?? []).map((project) => [project.id, `The runtime of ${project.name}`])],
          "gateway",
        ),
      ],
      body: ({ name, scope }) => (scope === "gateway" ? { name, kind: "gateway" } : { name, kind: "runtime", projectId: scope }),
    },
  });
  return place;
}

function projectName(projectId) {
  return store.project(projectId)?.name ?? projectId;
}
