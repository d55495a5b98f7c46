/** Name, slug and host name of a project; and its end. */

import { patch, path, remove } from "../api.js";
import { confirm } from "../dialogs.js";
import { make } from "../dom.js";
import { field, form } from "../forms.js";
import { card, copyLine, facts, toast } from "../pieces.js";
import { store } from "../store.js";

export function projectSettingsSection({ area, projectId, role, go }) {
  const project = store.project(projectId);
  area.append(make("div", { className: "column narrow" }, detailsCard(project, go), idCard(project), role === "owner" && endCard(project, go)));
}

function detailsCard(project, go) {
  return card(
    "Project",
    {},
    form(
      [
        field("name", "Name", { value: project.name, attributes: { maxlength: "100" } }),
        field("slug", "Slug", {
          value: project.slug,
          hint: "In addresses and commands. Directories that are linked by the old one have to be linked again.",
          attributes: { pattern: "[a-z0-9](?:[a-z0-9\\-]{0,61}[a-z0-9])?", title: "Lower-case letters, digits and hyphens" },
        }),
        field("domain", "Host name", {
          optional: true,
          value: project.domain ?? "",
          hint: "Where its clients connect. Point the name to the gateway first.",
        }),
      ],
      {
        submit: "Save",
        send: async ({ name, slug, domain }) => {
          const changed = await patch(path`/api/projects/${project.id}`, { name, slug, domain });
          await store.projects.refresh();
          toast("Saved.");
          go(`/projects/${encodeURIComponent(store.slugOf(changed))}/settings`, { replace: true });
        },
      },
    ),
  );
}

function idCard(project) {
  return card("Identifiers", { note: "For runtimes and gateways that you run yourself." }, facts([
    ["Project", copyLine(project.id, "the project's id")],
    ["Workspace", copyLine(project.workspaceId, "the workspace's id")],
  ]));
}

function endCard(project, go) {
  const button = make("button", { type: "button", className: "button danger" }, "Delete project");
  button.onclick = async () => {
    const done = await confirm(`Delete ${project.name}?`, {
      text: [
        make("p", {}, "Its runtime stops, its clients lose their sockets, and its deployments, tokens and secrets are deleted."),
        make("p", {}, "This cannot be undone."),
      ],
      typed: project.slug,
      action: "Delete for ever",
      tone: "danger",
      act: () => remove(path`/api/projects/${project.id}`),
    });
    if (!done) return;
    toast(`${project.name} is deleted.`);
    go("/", { replace: true });
    await store.projects.refresh();
  };
  return card("End", { note: "Delete the project with everything that belongs to it.", actions: [button] });
}
