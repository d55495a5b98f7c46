/** Accepting an invitation: with the account one has, by signing in first, or with a new password. */

import { get, path, post } from "../api.js";
import { make, update } from "../dom.js";
import { field, form } from "../forms.js";
import { failure, skeleton } from "../pieces.js";
import { store } from "../store.js";
import { frameOf, signInPage } from "./sign_in.js";

const ROLES = {
  owner: "As an owner you may do everything, and invite others.",
  developer: "As a developer you deploy, roll back, and set up projects.",
  viewer: "As a viewer you see everything and change nothing.",
};

export async function invitationPage(context) {
  const { area, params, signal, title } = context;
  title("Invitation");
  const box = make("div", { className: "box" });
  update(area, frameOf(box));
  update(box, make("h1", {}, "Invitation"), skeleton(2));
  try {
    const invitation = await get(path`/api/invitations/${decodeURIComponent(params.token)}`, { signal });
    show(context, box, invitation);
  } catch (error) {
    if (error.name === "AbortError") return;
    update(box, make("h1", {}, "Invitation"), failure(error), make("a", { className: "button", href: "/" }, "To the dashboard"));
  }
}

function show(context, box, invitation) {
  const { user, methods } = store.session;
  const accept = async (body) => {
    const accepted = await post(path`/api/invitations/${decodeURIComponent(context.params.token)}/accept`, body);
    await context.onSignedIn(`/settings/workspaces/${encodeURIComponent(accepted.workspaceId)}`);
  };
  const head = [
    make("h1", {}, `Join ${invitation.workspace}`),
    make("p", { className: "lead" }, "You are invited as ", make("strong", {}, invitation.email), `. ${ROLES[invitation.role] ?? ""}`),
  ];
  if (user) {
    box.replaceChildren(
      ...head,
      form([make("p", { className: "note" }, `You are signed in as ${user.email}.`)], {
        submit: `Join ${invitation.workspace}`,
        send: () => accept({}),
      }),
    );
  } else if (invitation.hasAccount || !methods.includes("password")) {
    const button = make("button", { type: "button", className: "button primary wide" }, "Sign in to join");
    button.onclick = () => signInPage(context);
    box.replaceChildren(...head, button);
  } else {
    box.replaceChildren(
      ...head,
      form(
        [
          field("name", "Your name", { attributes: { autocomplete: "name", maxlength: "100" } }),
          field("password", "Choose a password", {
            type: "password",
            hint: "At least 12 characters.",
            attributes: { autocomplete: "new-password" },
          }),
        ],
        { submit: `Join ${invitation.workspace}`, send: ({ name, password }) => accept({ name, password }) },
      ),
    );
  }
  box.querySelector("input, button.primary")?.focus();
}
