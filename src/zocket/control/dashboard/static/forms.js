/** Fields and forms: every field has its label, what is wrong is said beside it, and a form is sent once. */

import { make, update } from "./dom.js";
import { failure } from "./pieces.js";

let count = 0;

/** A labelled field; `name` is the key of its value. */
export function field(name, label, { kind = "input", hint = null, optional = false, ...properties } = {}) {
  const id = `field-${(count += 1)}`;
  const { attributes = {}, aria = {}, ...own } = properties;
  const hintId = hint ? `${id}-hint` : null;
  const control = make(kind, {
    className: "field",
    id,
    name,
    required: !optional,
    attributes: { autocomplete: "off", ...attributes },
    aria: { describedby: hintId, ...aria },
    ...own,
  });
  if (kind === "textarea") control.spellcheck = false;
  return make(
    "div",
    { className: "labelled" },
    make("label", { htmlFor: id }, label, optional && make("span", { className: "optional" }, "optional")),
    control,
    hint && make("p", { className: "hint", id: hintId }, hint),
  );
}

/** A labelled choice; `options` are pairs of value and text. */
export function choice(name, label, options, chosen, { hint = null } = {}) {
  const element = field(name, label, { kind: "select", hint });
  element.querySelector("select").append(
    ...options.map(([value, text]) => make("option", { value, textContent: text, selected: value === chosen })),
  );
  return element;
}

/** One of a few, each with a sentence: radio buttons that look like cards. */
export function cards(name, legend, options, chosen) {
  return make(
    "fieldset",
    { className: "choices" },
    make("legend", {}, legend),
    options.map(([value, title, text]) =>
      make(
        "label",
        { className: "choice" },
        make("input", { type: "radio", name, value, checked: value === chosen }),
        make("span", {}, make("strong", {}, title), make("span", { className: "note" }, text)),
      ),
    ),
  );
}

/**
 * A form that sends itself once at a time and shows what went wrong.
 *
 * @param content the fields.
 * @param submit text of its button.
 * @param send gets the values; a failure of it is shown in the form.
 * @param more what stands beside the button.
 */
export function form(content, { submit, send, more = [], tone = "primary", data = {} }) {
  const button = make("button", { className: `button ${tone}` }, submit);
  const trouble = make("div", { className: "trouble", attributes: { "aria-live": "assertive" } });
  const element = make(
    "form",
    { className: "form", data },
    content,
    trouble,
    make("div", { className: "form-foot" }, more, button),
  );
  element.onsubmit = async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    update(trouble);
    try {
      await send(values(element), element);
    } catch (error) {
      if (error.name !== "AbortError") update(trouble, failure(error));
    } finally {
      button.disabled = false;
    }
  };
  return element;
}

/** What the fields hold; an empty optional field is null, a disabled one is left out. */
function values(element) {
  const found = {};
  for (const control of element.elements) {
    if (!control.name || control.disabled || (control.type === "radio" && !control.checked)) continue;
    const isSecret = control.type === "password" || control.name === "value";
    const value = isSecret ? control.value : control.value.trim();
    found[control.name] = value === "" ? null : value;
  }
  return found;
}
