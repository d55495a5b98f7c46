/** Starts the dashboard: finds out who is signed in, then shows the page of the address. */

import { dropReads, get, setCsrf, whenSignedOut } from "./api.js";
import { make, update } from "./dom.js";
import { failure, skeleton } from "./pieces.js";
import { Router } from "./router.js";
import { shell } from "./shell.js";
import { store } from "./store.js";
import { devicePage } from "./views/device.js";
import { invitationPage } from "./views/invitation.js";
import { missingPage } from "./views/missing.js";
import { projectPage } from "./views/project.js";
import { projectsPage } from "./views/projects.js";
import { settingsPage } from "./views/settings.js";
import { signInPage } from "./views/sign_in.js";
import { workspacePage } from "./views/workspace.js";

const app = document.getElementById("app");
let frame = null;
let frameEnd = null;

const router = new Router(
  [
    ["/", inside(projectsPage)],
    ["/projects", inside(projectsPage)],
    ["/projects/:project/:section?/:item?", inside(projectPage)],
    ["/settings", inside(settingsPage)],
    ["/settings/workspaces/:workspace", inside(workspacePage)],
    ["/device", inside(devicePage)],
    ["/invitations/:token", outside(invitationPage)],
    ["/*", inside(missingPage)],
  ],
  () => area(),
  () => frame?.moved(),
);

/** A page for those who are signed in; anybody else signs in first and stays at the address. */
function inside(page) {
  return (context) => (store.session.user ? page(context) : signInPage({ ...context, onSignedIn }));
}

/** A page for everybody, without the frame. */
function outside(page) {
  return (context) => page({ ...context, onSignedIn });
}

function area() {
  if (store.session.user && !location.pathname.startsWith("/invitations/")) {
    if (!frame) {
      frameEnd = new AbortController();
      frame = shell(app, { onSigningOut: stop, onSignedOut, signal: frameEnd.signal });
      store.follow((status) => {
        frame?.refresh();
        if (status === "reconnecting") checkSession(); // a stream does not say why it is refused
      });
    }
    return frame.main;
  }
  closeFrame();
  const main = make("main", { id: "main", className: "alone", tabIndex: -1 });
  app.replaceChildren(main);
  return main;
}

function closeFrame() {
  stop();
  frame = null;
}

/** Nothing is read or followed any more, by the page neither: a session that ends would refuse it. */
function stop() {
  router.leave();
  frameEnd?.abort();
  store.clear();
  dropReads();
}

async function onSignedIn(address = null) {
  await readSession();
  if (address) router.go(address, { replace: true });
  else router.show();
}

async function onSignedOut() {
  closeFrame();
  await readSession();
  router.go("/", { replace: true });
}

async function readSession() {
  store.session = await get("/api/auth/session");
  setCsrf(store.session.csrf);
}

async function begin() {
  app.replaceChildren(make("main", { className: "alone" }, skeleton(3)));
  try {
    await readSession();
  } catch (error) {
    update(app, make("main", { id: "main", className: "alone" }, failure(error, () => location.reload())));
    return;
  }
  router.show({ isFirst: true });
}

/** Asks whether the session still holds, and shows the way in if it does not. */
async function checkSession() {
  if (!store.session.user) return;
  try {
    const session = await get("/api/auth/session");
    if (session.user || !store.session.user) return;
    store.session = session;
    setCsrf(null);
    router.show();
  } catch {
    // The server is away; it is asked again with the next attempt to reach it.
  }
}

whenSignedOut(checkSession);
begin();
