/** Small line drawings, 20 by 20, in the colour of their text. */

import { draw } from "./dom.js";

const PATHS = {
  add: "M10 4.5v11M4.5 10h11",
  alert: "M10 6.5v4.2M10 13.6v.1M8.6 3.4 2.3 14.5A1.6 1.6 0 0 0 3.7 17h12.6a1.6 1.6 0 0 0 1.4-2.5L11.4 3.4a1.6 1.6 0 0 0-2.8 0z",
  arrow: "M4.5 10h11M11 5.5l4.5 4.5-4.5 4.5",
  back: "M12 5l-5 5 5 5",
  bolt: "M11 2.8 4.5 11.2h5L9 17.2l6.5-8.4h-5z",
  check: "M4.5 10.5l3.6 3.6 7.4-8",
  close: "M5.5 5.5l9 9M14.5 5.5l-9 9",
  copy: "M7.5 7.5V5a1.5 1.5 0 0 1 1.5-1.5h6A1.5 1.5 0 0 1 16.5 5v6a1.5 1.5 0 0 1-1.5 1.5h-2.5M5 7.5h6A1.5 1.5 0 0 1 12.5 9v6a1.5 1.5 0 0 1-1.5 1.5H5A1.5 1.5 0 0 1 3.5 15V9A1.5 1.5 0 0 1 5 7.5z",
  down: "M10 4.5v11M5 11l5 4.5 5-4.5",
  folder: "M3 6a1.5 1.5 0 0 1 1.5-1.5h3.3l1.7 2h6A1.5 1.5 0 0 1 17 8v6.5a1.5 1.5 0 0 1-1.5 1.5h-11A1.5 1.5 0 0 1 3 14.5z",
  history: "M3.5 10a6.5 6.5 0 1 0 2-4.7M5.2 2.8v2.9h2.9M10 6.5V10l2.5 1.7",
  key: "M12.5 8.5a4 4 0 1 0-3.3 3.9l1.3 1.3h1.7v1.7h1.7v1.6h3v-2.6l-4.6-4.6",
  lock: "M6.5 9V6.5a3.5 3.5 0 0 1 7 0V9M5 9h10a1 1 0 0 1 1 1v6a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1v-6a1 1 0 0 1 1-1z",
  menu: "M3.5 6h13M3.5 10h13M3.5 14h8",
  moon: "M16.5 11.7A6.8 6.8 0 0 1 8.3 3.5a6.8 6.8 0 1 0 8.2 8.2z",
  pause: "M7 5v10M13 5v10",
  people: "M7.5 9.5a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6zM2.5 16c.3-2.8 2.2-4.3 5-4.3s4.7 1.5 5 4.3M13 4.2a2.8 2.8 0 0 1 0 5.1M14.5 12c1.7.5 2.8 1.9 3 4",
  play: "M7 4.8v10.4l8-5.2z",
  settings: "M4 6h7M15 6h1M4 14h1M9 14h7M13 8a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM7 16a2 2 0 1 0 0-4 2 2 0 0 0 0 4z",
  signOut: "M8.5 4H5a1.5 1.5 0 0 0-1.5 1.5v9A1.5 1.5 0 0 0 5 16h3.5M12.5 6.5 16 10l-3.5 3.5M16 10H8",
  sun: "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M15.7 4.3l-1.1 1.1M5.4 14.6l-1.1 1.1",
  system: "M4 4.5h12a1 1 0 0 1 1 1v7.5a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V5.5a1 1 0 0 1 1-1zM7 17h6M10 14v3",
  terminal: "M4.5 6.5 8 10l-3.5 3.5M10 14h5.5",
};

/** A drawing for people who see it; what it means is said by the text or label beside it. */
export function icon(name) {
  return draw(
    "svg",
    {
      viewBox: "0 0 20 20",
      fill: "none",
      stroke: "currentColor",
      "stroke-width": "1.6",
      "stroke-linecap": "round",
      "stroke-linejoin": "round",
      "aria-hidden": "true",
    },
    draw("path", { d: PATHS[name] }),
  );
}

/** The sign of the product. */
export function brandMark() {
  return draw(
    "svg",
    { viewBox: "0 0 32 32", class: "mark", "aria-hidden": "true" },
    draw("rect", { width: "32", height: "32", rx: "9" }),
    draw("path", { d: "M9 11h14l-10 10h10" }),
  );
}
