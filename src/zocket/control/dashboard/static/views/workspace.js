/** A workspace: its members with their roles, and invitations that wait. */

import { all, patch, path, post, remove } from "../api.js";
import { ask, confirm, showOnce } from "../dialogs.js";
import { make, update } from "../dom.js";
import { choice, field } from "../forms.js";
import { icon } from "../icons.js";
import { avatar, card, empty, failure, follow, inOneLine, skeleton, toast, when } from "../pieces.js";
import { Resource, store } from "../store.js";
import { sentence } from "../words.js";

const ROLES = [
  ["owner", "Owner: everything"],
  ["developer", "Developer: deploys and sets up projects"],
  ["viewer", "Viewer: sees everything, changes nothing"],
];

export function workspacePage({ area, params, signal, title, go }) {
  const id = decodeURIComponent(params.workspace);
  const head = make("header", { className: "page-head" });
  const body = make("div", { className: "page-body" });
  update(area, head, body);
  let drawn = false;
  const show = () => {
    const { value, error } = store.workspaces;
    const workspace = value?.find((one) => one.id === id);
    title(workspace?.name ?? "Workspace");
    update(head, make("h1", {}, workspace?.name ?? "Workspace"), workspace && make("p", { className: "note" }, `Your role: ${workspace.role}`));
    if (workspace && !drawn) {
      drawn = true;
      body.replaceChildren();
      drawWorkspace({ area: body, workspace, signal, go });
    } else if (!workspace) {
      update(
        body,
        value ? empty("people", "There is no such workspace, or you are not in it") : error ? failure(error, () => store.workspaces.refresh()) : skeleton(4),
      );
    }
  };
  store.workspaces.watch(show, signal);
  show();
}

function drawWorkspace({ area, workspace, signal, go }) {
  const isOwner = workspace.role === "owner";
  const members = new Resource(() => all(path`/api/workspaces/${workspace.id}/members`));
  const left = make("div", { className: "column" });
  const right = make("div", { className: "column" });
  area.append(make("div", { className: "columns" }, left, right));
  follow(left, [members], signal, (items) =>
    card(
      "Members",
      { key: "members" },
      make("ul", { className: "rows" }, items.map((member) => memberRow(member, workspace, members, isOwner, go))),
    ),
  );
  if (!isOwner) return;
  const invitations = new Resource(() => all(path`/api/workspaces/${workspace.id}/invitations`));
  const add = () => make("button", { type: "button", className: "button", onclick: () => invite(workspace, invitations) }, icon("add"), "Invite");
  follow(right, [invitations], signal, (items) =>
    card(
      "Invitations",
      { key: "invitations", actions: [add()], note: "A link for one person; you send it yourself." },
      items.length === 0
        ? empty("people", "Nobody is invited at the moment")
        : make("ul", { className: "rows" }, items.map((invitation) => invitationRow(invitation, workspace, invitations))),
    ),
  );
}

function memberRow(member, workspace, members, isOwner, go) {
  const isSelf = member.userId === store.session.user.id;
  const name = member.name || member.email;
  const select = isOwner && roleSelect(member, name, workspace, members);
  const button =
    (isOwner || isSelf) &&
    isOwner &&
    make(
      "button",
      {
        type: "button",
        className: "button small",
        aria: { label: isSelf ? `Leave ${workspace.name}` : `Remove ${name}` },
        onclick: () => removeMember(member, name, workspace, members, isSelf, go),
      },
      isSelf ? "Leave" : "Remove",
    );
  return make(
    "li",
    { className: "row", data: { key: member.userId } },
    avatar(name),
    make(
      "div",
      { className: "row-main" },
      make("p", { className: "message" }, name, isSelf && make("span", { className: "you" }, "you")),
      make("p", { className: "note" }, member.email, " · since ", when(member.since)),
    ),
    make("div", { className: "row-end" }, select || make("span", { className: "note" }, sentence(member.role)), button),
  );
}

function roleSelect(member, name, workspace, members) {
  const select = make("select", { className: "field small", aria: { label: `Role of ${name}` } });
  select.append(...ROLES.map(([value]) => make("option", { value, textContent: sentence(value), selected: value === member.role })));
  select.onchange = async () => {
    try {
      await patch(path`/api/workspaces/${workspace.id}/members/${member.userId}`, { role: select.value });
      toast(`${name} is ${select.value} now.`);
    } catch (error) {
      toast(inOneLine(error), "bad");
    }
    await members.refresh();
    store.workspaces.touch();
  };
  return select;
}

async function removeMember(member, name, workspace, members, isSelf, go) {
  const done = await confirm(isSelf ? `Leave ${workspace.name}?` : `Remove ${name}?`, {
    text: make("p", {}, isSelf ? "You no longer see its projects." : `${name} no longer sees the projects of ${workspace.name}.`),
    action: isSelf ? "Leave" : "Remove",
    tone: "danger",
    act: () => remove(path`/api/workspaces/${workspace.id}/members/${member.userId}`),
  });
  if (!done) return;
  if (isSelf) {
    await store.workspaces.refresh();
    await store.projects.refresh();
    go("/");
  } else {
    toast(`${name} is removed.`);
    await members.refresh();
  }
}

function invitationRow(invitation, workspace, invitations) {
  return make(
    "li",
    { className: "row", data: { key: invitation.id } },
    make(
      "div",
      { className: "row-main" },
      make("p", { className: "message" }, invitation.email),
      make("p", { className: "note" }, sentence(invitation.role), " · expires ", when(invitation.expiresAt, { isFuture: true })),
    ),
    make(
      "div",
      { className: "row-end" },
      make(
        "button",
        {
          type: "button",
          className: "button small",
          aria: { label: `Withdraw the invitation of ${invitation.email}` },
          onclick: () => withdraw(invitation, workspace, invitations),
        },
        "Withdraw",
      ),
    ),
  );
}

async function invite(workspace, invitations) {
  const issued = await ask(`Invite to ${workspace.name}`, {
    action: "Make the link",
    fields: [field("email", "Email", { type: "email", attributes: { maxlength: "254" } }), choice("role", "Role", ROLES, "developer")],
    send: (values) => post(path`/api/workspaces/${workspace.id}/invitations`, values),
  });
  if (!issued) return;
  await invitations.refresh();
  await showOnce("The invitation's link", {
    secret: issued.url,
    what: "the link",
    text: `Send it to ${issued.email}. Whoever has it can join ${workspace.name} as ${issued.role}.`,
  });
}

async function withdraw(invitation, workspace, invitations) {
  const done = await confirm("Withdraw the invitation?", {
    text: make("p", {}, `The link that ${invitation.email} got no longer works.`),
    action: "Withdraw",
    tone: "danger",
    act: () => remove(path`/api/workspaces/${workspace.id}/invitations/${invitation.id}`),
  });
  if (done) await invitations.refresh();
}
