/**
 * Dialogs: the browser's own, so that focus stays inside, Escape closes and what is behind is out of reach.
 *
 * Rules: focus goes back to what was focused before; only one is open at a time.
 */

import { make, update } from "./dom.js";
import { field, form } from "./forms.js";
import { icon } from "./icons.js";
import { copyButton } from "./pieces.js";

function open(title, build) {
  const before = document.activeElement;
  const dialog = make("dialog", { className: "dialog", aria: { labelledby: "dialog-title" } });
  return new Promise((resolve) => {
    let result;
    const close = (value) => {
      result = value;
      dialog.close();
    };
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before?.isConnected) before.focus();
      resolve(result);
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog && dialog.dataset.modal !== "strict") close();
    });
    const cross = make("button", {
      type: "button",
      className: "button quiet icon small",
      aria: { label: "Close" },
      onclick: () => close(),
    });
    cross.append(icon("close"));
    dialog.append(
      make(
        "div",
        { className: "dialog-inside" },
        make("header", { className: "dialog-head" }, make("h2", { id: "dialog-title" }, title), cross),
        build(close, dialog),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Asks before something is done; `act` does it, and its failure is shown in the dialog. Resolves with whether. */
export async function confirm(title, { text, action, act, tone = "primary", typed = null }) {
  const done = await open(title, (close) => {
    // What does nothing has the focus first, so that a second Enter does not do what was only asked about.
    const cancel = make("button", { type: "button", className: "button", autofocus: !typed, onclick: () => close() }, "Cancel");
    const content = [make("div", { className: "prose" }, text)];
    if (typed) {
      content.push(field("typed", `Type ${typed} to confirm`, { autofocus: true, attributes: { pattern: escaped(typed), title: typed } }));
    }
    return form(content, {
      submit: action,
      tone,
      more: [cancel],
      send: async () => {
        await act();
        close(true);
      },
    });
  });
  return done === true;
}

/** A form in a dialog; `send` gets the values, and what it gives is what this resolves with. */
export function ask(title, { fields, action, send, text = null }) {
  return open(title, (close) => {
    const cancel = make("button", { type: "button", className: "button", onclick: () => close() }, "Cancel");
    const element = form([text && make("div", { className: "prose" }, text), fields], {
      submit: action,
      more: [cancel],
      send: async (values) => close((await send(values)) ?? true),
    });
    element.querySelector(".field").autofocus = true;
    return element;
  });
}

/** Shows a secret that is never shown again; a click beside the dialog does not close it. */
export function showOnce(title, { secret, what, text }) {
  return open(title, (close, dialog) => {
    dialog.dataset.modal = "strict";
    const area = make("div", { className: "form" });
    const copy = copyButton(secret, what, { withText: true });
    copy.autofocus = true;
    update(
      area,
      make("p", { className: "prose" }, text),
      make("div", { className: "secret" }, make("code", { id: "secret" }, secret), copy),
      make("p", { className: "warning" }, icon("alert"), "It is shown only now. Keep it where secrets are kept."),
      make(
        "div",
        { className: "form-foot" },
        make("button", { type: "button", className: "button primary", onclick: () => close() }, "I have it"),
      ),
    );
    return area;
  });
}

function escaped(text) {
  return text.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");
}
