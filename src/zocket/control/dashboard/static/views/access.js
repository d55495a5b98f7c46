/** How the project's clients are told apart, which pages may connect, what a session may do; and a token to be tried. */

import { get, path, post, put } from "../api.js";
import { make, update } from "../dom.js";
import { cards, field, form } from "../forms.js";
import { icon } from "../icons.js";
import { card, facts, follow, toast } from "../pieces.js";
import { Resource } from "../store.js";

const MODES = [
  ["none", "Everybody", "No token is asked for; clients have no user id."],
  ["jwt-secret", "Shared secret", "Tokens signed by your server with a secret (JWT, HS256)."],
  ["jwt-jwks", "Key set", "Tokens of an identity provider, checked by its public keys (JWKS)."],
];

export function accessSection({ area, projectId, signal, role }) {
  const auth = new Resource(() => get(path`/api/projects/${projectId}/auth`));
  const left = make("div", { className: "column" });
  const right = make("div", { className: "column" });
  area.append(make("div", { className: "columns" }, left, right));
  follow(left, [auth], signal, (value) =>
    card(
      "Who may connect",
      // A value that changed is drawn anew; otherwise what somebody is writing stays (`keep`).
      { key: JSON.stringify(value), note: "Takes effect for new sockets within seconds." },
      role === "owner" ? settingsForm(value, projectId, auth) : overview(value),
    ),
  );
  if (role !== "viewer") update(right, testerCard(projectId));
}

function overview(auth) {
  const mode = MODES.find(([name]) => name === auth.mode);
  return [
    facts([
      ["Mode", `${mode[1]}: ${mode[2]}`],
      auth.mode === "jwt-secret" && ["Secret", auth.hasSecret ? "is set" : "is not set"],
      auth.jwksUrl && ["Key set", make("code", {}, auth.jwksUrl)],
      auth.issuer && ["Issuer", make("code", {}, auth.issuer)],
      auth.audience && ["Audience", make("code", {}, auth.audience)],
      ["Pages", auth.origins.length > 0 ? auth.origins.join(", ") : "every page"],
      ["Messages", limitText(auth.limits)],
    ]),
    make("p", { className: "note" }, "Only an owner of the workspace changes this."),
  ];
}

function limitText({ ratePerS, burst }) {
  if (ratePerS == null && burst == null) return "as the gateway allows";
  return `${ratePerS ?? "–"} a second, ${burst ?? "–"} at once`;
}

function settingsForm(auth, projectId, resource) {
  const secret = make(
    "div",
    { data: { modes: "jwt-secret" } },
    field("secret", auth.hasSecret ? "New secret" : "Secret", {
      type: "password",
      optional: true,
      hint: auth.hasSecret
        ? "A secret is set. It is never shown; leave this empty to keep it."
        : "At least 32 bytes; keep it beside the server that signs tokens.",
      attributes: { autocomplete: "new-password", minlength: "32", maxlength: "4096" },
    }),
  );
  const keySet = make(
    "div",
    { data: { modes: "jwt-jwks" } },
    field("jwksUrl", "Address of the key set", {
      type: "url",
      optional: true,
      value: auth.jwksUrl ?? "",
      placeholder: "https://id.example.com/.well-known/jwks.json",
      attributes: { pattern: "https://.+", title: "An https address" },
    }),
  );
  const checks = make(
    "div",
    { className: "pair", data: { modes: "jwt-secret jwt-jwks" } },
    field("issuer", "Issuer", { optional: true, value: auth.issuer ?? "", hint: "Tokens must name it as iss." }),
    field("audience", "Audience", { optional: true, value: auth.audience ?? "", hint: "Tokens must name it as aud." }),
  );
  const element = form(
    [
      cards("mode", "Mode", MODES, auth.mode),
      secret,
      keySet,
      checks,
      field("origins", "Pages that may connect", {
        kind: "textarea",
        optional: true,
        rows: 3,
        value: auth.origins.join("\n"),
        className: "field code",
        placeholder: "https://app.example.com",
        hint: "One origin a line. With none, every page may.",
      }),
      make(
        "div",
        { className: "pair" },
        field("ratePerS", "Messages a second", { type: "number", optional: true, value: auth.limits.ratePerS ?? "", attributes: { min: "0.1", step: "any" } }),
        field("burst", "At once", { type: "number", optional: true, value: auth.limits.burst ?? "", attributes: { min: "1", step: "1" } }),
      ),
      make("p", { className: "hint" }, "Of one client session. Empty means the gateway's own limits."),
    ],
    {
      submit: "Save",
      data: { keep: "access" },
      send: async (values) => {
        await put(path`/api/projects/${projectId}/auth`, bodyOf(values));
        toast("Saved.");
        await resource.refresh();
      },
    },
  );
  const showFields = () => {
    const mode = element.querySelector("input[name=mode]:checked").value;
    for (const part of element.querySelectorAll("[data-modes]")) {
      const isWanted = part.dataset.modes.split(" ").includes(mode);
      part.hidden = !isWanted;
      for (const control of part.querySelectorAll("input")) control.disabled = !isWanted;
    }
    const needsSecret = mode === "jwt-secret" && !auth.hasSecret;
    element.querySelector("input[name=secret]").required = needsSecret;
    element.querySelector("input[name=jwksUrl]").required = mode === "jwt-jwks";
  };
  element.onchange = showFields;
  showFields();
  return element;
}

function bodyOf(values) {
  const body = {
    mode: values.mode,
    issuer: values.issuer,
    audience: values.audience,
    jwksUrl: values.jwksUrl,
    origins: (values.origins ?? "").split(/\s+/).filter(Boolean),
    limits: {
      ratePerS: values.ratePerS == null ? null : Number(values.ratePerS),
      burst: values.burst == null ? null : Number(values.burst),
    },
  };
  if (values.secret) body.secret = values.secret;
  return body;
}

function testerCard(projectId) {
  const result = make("div", { className: "result", attributes: { "aria-live": "polite" } });
  return card(
    "Try a token",
    { note: "What a client with this token would be told. The token is checked and not kept." },
    form([field("token", "Token", { kind: "textarea", rows: 4, optional: true, className: "field code", hint: "Empty: a client without a token." })], {
      submit: "Try",
      send: async ({ token }) => {
        update(result);
        update(result, verdict(await post(path`/api/projects/${projectId}/auth/test`, { token })));
      },
    }),
    result,
  );
}

function verdict(answer) {
  if (!answer.ok) {
    return make(
      "div",
      { className: "verdict bad" },
      make("p", { className: "verdict-title" }, icon("close"), "Refused"),
      make("p", {}, answer.error ?? "The token does not open a socket."),
      make("p", { className: "note" }, "Code ", make("code", {}, answer.code ?? "unauthorized")),
    );
  }
  return make(
    "div",
    { className: "verdict good" },
    make("p", { className: "verdict-title" }, icon("check"), "Accepted"),
    make("p", {}, "User id ", make("code", {}, answer.userId ?? "none")),
    answer.claims &&
      make("pre", { tabIndex: 0, aria: { label: "Claims" } }, JSON.stringify(answer.claims, null, 2)),
  );
}
