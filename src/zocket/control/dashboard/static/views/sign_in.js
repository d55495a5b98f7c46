/** Signing in: by password or through the issuer of OpenID Connect; before there is any account, how to make one. */

import { get, post } from "../api.js";
import { appearanceButton } from "../appearance_button.js";
import { make, update } from "../dom.js";
import { field, form } from "../forms.js";
import { brandMark, icon } from "../icons.js";
import { command } from "../pieces.js";
import { store } from "../store.js";

const SETUP_POLL_MS = 2_500;

const PROBLEMS = {
  not_invited: "The issuer knows you, but you have no account here yet. Ask an owner of your workspace to invite you.",
  unverified_email: "The issuer does not vouch for your email address. Confirm it there, then try again.",
  other_identity: "Your email address belongs to another account of the issuer here. Ask an administrator.",
  too_many_requests: "Too many attempts. Wait a moment, then try again.",
  unavailable: "The issuer cannot be reached. Try again in a moment.",
};

export function signInPage({ area, query, signal, title, onSignedIn }) {
  title("Sign in");
  const box = make("div", { className: "box" });
  update(area, frameOf(box));
  const { methods, setup } = store.session;
  const problem = query.get("signInError");
  if (setup && methods.includes("password")) {
    box.append(...setupContent());
    waitForAccount(signal, onSignedIn);
    return;
  }
  update(
    box,
    make("h1", {}, "Sign in"),
    make("p", { className: "lead" }, reason()),
    problem && problemText(problem),
    methods.includes("oidc") && issuerButton(),
    methods.includes("password") && passwordForm(onSignedIn),
  );
  box.querySelector("input")?.focus();
}

/** A page that stands alone: the brand above, a box, the choice of colours below. */
export function frameOf(box) {
  return make(
    "div",
    { className: "alone-inside" },
    make("div", { className: "brand big" }, brandMark(), make("span", {}, "Zocket")),
    box,
    make("div", { className: "alone-foot" }, appearanceButton()),
  );
}

function reason() {
  if (location.pathname === "/device") return "Then the command line that waits for you can be approved.";
  return "Your projects, their deployments and what they do right now.";
}

function problemText(code) {
  return make(
    "div",
    { className: "failure", attributes: { role: "alert" } },
    icon("alert"),
    make(
      "div",
      {},
      make("p", { className: "failure-text" }, PROBLEMS[code] ?? "The issuer did not sign you in."),
      make("p", { className: "failure-about" }, "Code ", make("code", {}, code)),
    ),
  );
}

function issuerButton() {
  const query = new URLSearchParams({ next: next() });
  return make(
    "a",
    { className: "button primary wide", href: `/api/auth/oidc/start?${query}` },
    icon("key"),
    "Continue with your organisation",
  );
}

/** The address to come back to, without what a failed attempt has added. */
function next() {
  const query = new URLSearchParams(location.search);
  query.delete("signInError");
  return location.pathname + (query.size > 0 ? `?${query}` : "");
}

function passwordForm(onSignedIn) {
  return form(
    [
      field("email", "Email", { type: "email", attributes: { autocomplete: "username" } }),
      field("password", "Password", { type: "password", attributes: { autocomplete: "current-password" } }),
    ],
    {
      submit: "Sign in",
      send: async ({ email, password }) => {
        await post("/api/auth/login", { email, password });
        await onSignedIn(next());
      },
    },
  );
}

function setupContent() {
  return [
    make("h1", {}, "Welcome to Zocket"),
    make("p", { className: "lead" }, "There is no account yet. Make the first one where the control plane runs:"),
    command("zocket control create-admin you@example.com"),
    make("p", { className: "waiting", attributes: { role: "status" } }, "Waiting for the account. This page goes on by itself."),
  ];
}

function waitForAccount(signal, onSignedIn) {
  const timer = setInterval(async () => {
    try {
      const session = await get("/api/auth/session", { signal });
      if (!session.setup) await onSignedIn();
    } catch {
      // It is asked again in a moment.
    }
  }, SETUP_POLL_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}
