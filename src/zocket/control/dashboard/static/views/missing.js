/** An address that is no page. */

import { make, update } from "../dom.js";
import { empty } from "../pieces.js";

export function missingPage({ area, title }) {
  title("Not found");
  update(
    area,
    make("header", { className: "page-head" }, make("h1", {}, "There is nothing here")),
    empty("folder", "This address is no page of the dashboard", make("a", { className: "button", href: "/" }, "To your projects")),
  );
}
