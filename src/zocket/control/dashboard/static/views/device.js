/** Approving a command line: the code that it shows, who it is, one button. */

import { path, post } from "../api.js";
import { make, update } from "../dom.js";
import { field, form } from "../forms.js";
import { icon } from "../icons.js";
import { facts, failure, when } from "../pieces.js";

export function devicePage({ area, query, title }) {
  title("Approve a command line");
  const box = make("div", { className: "box in-frame" });
  update(area, make("header", { className: "page-head" }, make("h1", {}, "Approve a command line")), box);
  const code = query.get("code");
  if (code) look(box, code);
  else askForCode(box);
}

function askForCode(box, problem = null) {
  update(
    box,
    make("p", { className: "lead" }, "Type the code that your terminal shows."),
    problem && failure(problem),
    form(
      [
        field("code", "Code", {
          className: "field code-field",
          placeholder: "XXXX-XXXX",
          attributes: { autocapitalize: "characters", maxlength: "32" },
          spellcheck: false,
        }),
      ],
      { submit: "Continue", send: async ({ code }) => show(box, await lookUp(code)) },
    ),
  );
  box.querySelector("input").focus();
}

function lookUp(code) {
  return post("/api/auth/device/lookup", { userCode: code });
}

async function look(box, code) {
  try {
    show(box, await lookUp(code));
  } catch (error) {
    askForCode(box, error);
  }
}

function show(box, device) {
  box.replaceChildren(
    make("p", { className: "lead" }, "A command line wants to act as you. Approve it only if you started it just now, and if its code is this one:"),
    make("p", { className: "big-code" }, device.userCode),
    facts([
      ["Machine", device.name],
      device.address && ["Asked from", device.address],
      ["Asked", when(device.requestedAt)],
      ["May", "everything that you may, for 30 days or until you revoke it"],
    ]),
    form([], {
      submit: "Approve",
      more: [make("a", { className: "button", href: "/" }, "It was not me")],
      send: async () => {
        await post(path`/api/auth/device/${device.deviceCode}/approve`);
        done(box, device);
      },
    }),
  );
  box.querySelector(".button.primary").focus();
}

function done(box, device) {
  box.replaceChildren(
    make(
      "div",
      { className: "done", attributes: { role: "status" } },
      icon("check"),
      make("p", { className: "empty-title" }, `${device.name} is signed in`),
      make("p", {}, "Go back to your terminal. You can revoke it in your account at any time."),
      make("a", { className: "button", href: "/" }, "To your projects"),
    ),
  );
}
