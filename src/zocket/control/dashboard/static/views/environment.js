/** Names of the project's environment and secrets; values go in and are never read back. */

import { all, path, put, remove } from "../api.js";
import { confirm } from "../dialogs.js";
import { make, update } from "../dom.js";
import { field, form } from "../forms.js";
import { card, command, empty, follow, toast, when } from "../pieces.js";
import { Resource } from "../store.js";

export function environmentSection({ area, projectId, signal, role }) {
  const names = new Resource(() => all(path`/api/projects/${projectId}/env`));
  const list = make("div", { className: "column" });
  const side = make("div", { className: "column" });
  area.append(make("div", { className: "columns" }, list, side));
  const mayChange = role !== "viewer";
  follow(list, [names], signal, (items) =>
    card(
      "Environment and secrets",
      { note: "Encrypted at rest, given to this project's runtime alone, never shown again.", key: "names" },
      items.length === 0
        ? empty("lock", "Nothing is set", make("p", {}, "Set a name here, or from the command line:"), command("zocket env set NAME"))
        : make("ul", { className: "rows" }, items.map((item) => row(item, projectId, names, mayChange))),
    ),
  );
  if (mayChange) update(side, setCard(projectId, names));
}

function row(item, projectId, names, mayChange) {
  const by = item.updatedBy ? ` by ${item.updatedBy}` : "";
  return make(
    "li",
    { className: "row", data: { key: item.name } },
    make(
      "div",
      { className: "row-main" },
      make("p", { className: "message" }, make("code", {}, item.name)),
      make("p", { className: "note" }, "set ", when(item.updatedAt), by),
    ),
    make(
      "div",
      { className: "row-end" },
      mayChange &&
        make(
          "button",
          {
            type: "button",
            className: "button small",
            aria: { label: `Unset ${item.name}` },
            onclick: () => unset(item.name, projectId, names),
          },
          "Unset",
        ),
    ),
  );
}

function setCard(projectId, names) {
  return card(
    "Set a value",
    { note: "A change deploys the active bundle once more, with the new environment." },
    form(
      [
        field("name", "Name", {
          placeholder: "DATABASE_URL",
          attributes: { pattern: "[A-Za-z_][A-Za-z0-9_]*", maxlength: "128", title: "Letters, digits and _, not beginning with a digit" },
        }),
        field("value", "Value", { kind: "textarea", rows: 3, className: "field code" }),
      ],
      {
        submit: "Set",
        send: async ({ name, value }, element) => {
          await put(path`/api/projects/${projectId}/env/${name}`, { value: value ?? "" });
          element.reset();
          toast(`${name} is set.`);
          await names.refresh();
        },
      },
    ),
  );
}

async function unset(name, projectId, names) {
  const done = await confirm(`Unset ${name}?`, {
    text: make("p", {}, "Its value is deleted, and the active bundle is deployed once more without it."),
    action: "Unset",
    tone: "danger",
    act: () => remove(path`/api/projects/${projectId}/env/${name}`),
  });
  if (!done) return;
  toast(`${name} is unset.`);
  await names.refresh();
}
