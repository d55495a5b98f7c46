/** Name, slug and host name of a project; and its end. */

import { get, patch, path, put, remove } from "../api.js";
import { confirm } from "../dialogs.js";
import { make } from "../dom.js";
import { field, form } from "../forms.js";
import { card, copyLine, facts, follow, toast } from "../pieces.js";
import { Resource, store } from "../store.js";

const MIB = 1_024 * 1_024;

export function projectSettingsSection({ area, projectId, role, signal, go }) {
  const project = store.project(projectId);
  const runtime = make("div", {});
  const left = make("div", { className: "column" }, detailsCard(project, go), idCard(project));
  const right = make("div", { className: "column" }, runtime, role === "owner" && endCard(project, go));
  area.append(make("div", { className: "columns even" }, left, right));
  const options = new Resource(() => get(path`/api/projects/${projectId}/runtime`));
  follow(runtime, [options], signal, (value) => runtimeCard(value, projectId, options, role === "owner"));
}

function runtimeCard(value, projectId, options, mayChange) {
  const memory = value.memoryBytes == null ? "" : Math.round(value.memoryBytes / MIB);
  const about = { key: JSON.stringify(value), note: "Counts from the next start of the runtime on." };
  if (!mayChange) {
    return card("Runtime", about, facts([
      ["Memory", memory === "" ? "no limit of its own" : `${memory} MiB`],
      ["Signatures", value.signingKey ? "needed" : "not needed"],
    ]));
  }
  const fields = [
    field("memory", "Memory in MiB", {
      type: "number",
      optional: true,
      value: memory,
      hint: "Empty means no limit of its own.",
      attributes: { min: "64", step: "1" },
    }),
    field("signingKey", "Key that signs bundles", {
      optional: true,
      value: value.signingKey ?? "",
      className: "field code",
      hint: "An Ed25519 public key in base64. With it, bundles that it did not sign are refused.",
      attributes: { maxlength: "100" },
    }),
  ];
  return card("Runtime", about, form(fields, {
    submit: "Save",
    data: { keep: "runtime" },
    send: async (values) => {
      const memoryBytes = values.memory == null ? null : Number(values.memory) * MIB;
      await put(path`/api/projects/${projectId}/runtime`, { memoryBytes, signingKey: values.signingKey });
      toast("Saved.");
      await options.refresh();
    },
  }));
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
          hint: "In addresses and commands; linked directories stay linked.",
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
  return card("Delete this project", { note: "With everything that belongs to it.", actions: [button] });
}
