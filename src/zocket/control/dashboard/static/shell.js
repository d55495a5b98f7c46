/** What stands around every page: the way to projects and settings, who is signed in, whether the page is live. */

import { post } from "./api.js";
import { appearanceButton } from "./appearance_button.js";
import { make, update } from "./dom.js";
import { brandMark, icon } from "./icons.js";
import { avatar, inOneLine, toast } from "./pieces.js";
import { store } from "./store.js";
import { projectWords } from "./words.js";

const LIVE_WORDS = { connecting: "Connecting…", open: "Live", reconnecting: "Reconnecting…" };

/**
 * Draws the frame once.
 *
 * @param onSigningOut called before the server is told, `onSignedOut` afterwards.
 * @returns `main`, where pages go, and `refresh`, to be called when something around them changed.
 */
export function shell(app, { onSigningOut, onSignedOut, signal }) {
  const main = make("main", { id: "main", className: "main", tabIndex: -1 });
  const navigation = make("nav", { className: "navigation", aria: { label: "Projects and settings" } });
  const badge = make("span", { className: "badge", attributes: { role: "status" } });
  const account = make("div", { className: "account" });
  const sidebar = make(
    "aside",
    { className: "sidebar", id: "sidebar", popover: "auto", aria: { label: "Navigation" } },
    make("div", { className: "brand-row" }, brand(), badge),
    navigation,
    account,
  );
  const menu = make("button", {
    type: "button",
    className: "button quiet icon",
    aria: { label: "Navigation" },
    attributes: { popovertarget: "sidebar" },
  });
  menu.append(icon("menu"));
  const topBadge = make("span", { className: "badge dot-only" });
  app.replaceChildren(
    make("div", { className: "frame" }, make("header", { className: "topbar" }, menu, brand(), topBadge), sidebar, main),
  );
  matchMedia("(min-width: 900px)").addEventListener("change", () => close(sidebar), { signal });

  const user = store.session.user;
  const signOut = make("button", {
    type: "button",
    className: "button quiet icon",
    title: "Sign out",
    aria: { label: "Sign out" },
    onclick: async () => {
      onSigningOut();
      try {
        await post("/api/auth/logout");
      } catch (error) {
        toast(inOneLine(error), "bad");
      }
      onSignedOut();
    },
  });
  signOut.append(icon("signOut"));
  account.append(
    make(
      "a",
      { className: "me", href: "/settings", title: "Your account" },
      avatar(user.name || user.email),
      make("span", { className: "me-text" }, make("strong", {}, user.name || user.email), make("span", {}, user.email)),
    ),
    appearanceButton(),
    signOut,
  );

  const refresh = () => {
    for (const element of [badge, topBadge]) {
      element.dataset.status = store.liveStatus;
      element.textContent = LIVE_WORDS[store.liveStatus];
    }
    update(navigation, projectLinks(), workspaceLinks());
  };
  store.projects.watch(refresh, signal);
  store.workspaces.watch(refresh, signal);
  refresh();
  const moved = () => {
    close(sidebar);
    refresh();
  };
  return { main, refresh, moved };
}

function close(sidebar) {
  if (sidebar.matches(":popover-open")) sidebar.hidePopover();
}

function brand() {
  return make("a", { className: "brand", href: "/" }, brandMark(), make("span", {}, "Zocket"));
}

function current(address, { isExact = false } = {}) {
  const here = location.pathname;
  return here === address || (!isExact && here.startsWith(`${address}/`)) ? "page" : null;
}

function projectLinks() {
  const projects = store.projects.value ?? [];
  return make(
    "div",
    { className: "links", data: { key: "projects" } },
    make(
      "a",
      { className: "link", href: "/", aria: { current: current("/", { isExact: true }) } },
      icon("folder"),
      make("span", { className: "name" }, "Projects"),
    ),
    projects.length > 0 &&
      make(
        "ul",
        { className: "sub", aria: { label: "Your projects" } },
        projects.map((project) => {
          const address = `/projects/${encodeURIComponent(store.slugOf(project))}`;
          const { text, tone } = projectWords(project.status);
          return make(
            "li",
            { data: { key: project.id } },
            make(
              "a",
              { className: "link", href: address, aria: { current: current(address) } },
              make("span", { className: "state", data: { tone }, title: text }),
              make("span", { className: "name" }, project.name),
              make("span", { className: "sr-only" }, `, ${text}`),
            ),
          );
        }),
      ),
  );
}

function workspaceLinks() {
  const workspaces = store.workspaces.value ?? [];
  if (workspaces.length === 0) return null;
  return make(
    "div",
    { className: "links", data: { key: "workspaces" } },
    make("h2", { className: "label" }, workspaces.length === 1 ? "Workspace" : "Workspaces"),
    make(
      "ul",
      {},
      workspaces.map((workspace) => {
        const address = `/settings/workspaces/${encodeURIComponent(workspace.id)}`;
        return make(
          "li",
          { data: { key: workspace.id } },
          make(
            "a",
            { className: "link", href: address, aria: { current: current(address) } },
            icon("people"),
            make("span", { className: "name" }, workspace.name),
          ),
        );
      }),
    ),
  );
}
