/** Lists of tokens: each is shown once when it is made, and can be revoked. */

import { all, path, post } from "../api.js";
import { ask, confirm, showOnce } from "../dialogs.js";
import { classes, make } from "../dom.js";
import { field } from "../forms.js";
import { icon } from "../icons.js";
import { card, empty, follow, pill, toast, when } from "../pieces.js";
import { Resource } from "../store.js";

export function tokensSection({ area, projectId, signal }) {
  tokenCard({
    area,
    signal,
    list: path`/api/projects/${projectId}/deploy-tokens`,
    title: "Deploy tokens",
    note: "For pipelines: upload, watch, roll back and read logs of this project, nothing else.",
    none: "No deploy token",
    create: {
      action: "New token",
      fields: () => [field("name", "Name", { hint: "Where it is used.", placeholder: "GitHub Actions", attributes: { maxlength: "100" } })],
    },
  });
}

/**
 * A card with a list of tokens.
 *
 * @param list path of the list, of creating (POST) and revoking (POST …/{id}/revoke).
 * @param create `{action, fields, body?}`, or null where tokens are made elsewhere.
 */
export function tokenCard({ area, signal, list, title, note, none, create = null, about = () => null }) {
  const tokens = new Resource(() => all(list));
  const place = make("div", { className: "column" });
  area.append(place);
  const add = () =>
    make(
      "button",
      { type: "button", className: "button", onclick: () => createToken(list, create, tokens) },
      icon("add"),
      create.action,
    );
  follow(place, [tokens], signal, (items) =>
    card(
      title,
      { note, key: "tokens", actions: [create && add()] },
      items.length === 0
        ? empty("key", none)
        : make("ul", { className: "rows" }, inOrder(items).map((token) => tokenRow(token, list, tokens, about))),
    ),
  );
}

/** Those that work before those that do not. */
function inOrder(items) {
  return [...items.filter((token) => !token.revokedAt), ...items.filter((token) => token.revokedAt)];
}

function tokenRow(token, list, tokens, about) {
  const isOver = token.revokedAt != null || (token.expiresAt != null && token.expiresAt <= Date.now());
  return make(
    "li",
    { className: classes("row", isOver && "over"), data: { key: token.id } },
    make(
      "div",
      { className: "row-main" },
      make("p", { className: "message" }, token.name, " ", make("code", { className: "prefix" }, `${token.prefix}…`)),
      make(
        "p",
        { className: "note" },
        about(token),
        "made ",
        when(token.createdAt),
        " · ",
        token.lastUsedAt ? ["last used ", when(token.lastUsedAt)] : "never used",
        !isOver && token.expiresAt != null && [" · expires ", when(token.expiresAt, { isFuture: true })],
      ),
    ),
    make(
      "div",
      { className: "row-end" },
      isOver
        ? pill({ text: token.revokedAt ? "Revoked" : "Expired", tone: "calm" })
        : make(
            "button",
            {
              type: "button",
              className: "button small",
              aria: { label: `Revoke ${token.name}` },
              onclick: () => revoke(token, list, tokens),
            },
            "Revoke",
          ),
    ),
  );
}

async function createToken(list, create, tokens) {
  const issued = await ask(create.action, {
    action: "Create token",
    fields: create.fields(),
    send: (values) => post(list, create.body ? create.body(values) : values),
  });
  if (!issued) return;
  await tokens.refresh();
  await showOnce(`Token ${issued.name}`, { secret: issued.token, what: "the token", text: "Copy it to where it is used." });
}

async function revoke(token, list, tokens) {
  const done = await confirm(`Revoke ${token.name}?`, {
    text: make("p", {}, "Whoever uses it is refused from now on. This cannot be undone."),
    action: "Revoke",
    tone: "danger",
    act: () => post(list + path`/${token.id}/revoke`),
  });
  if (!done) return;
  toast(`${token.name} is revoked.`);
  await tokens.refresh();
}
