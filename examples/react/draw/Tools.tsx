/** Colours, widths, undo and clear. */

import { type CSSProperties, useEffect } from "react";

import { attempt, toast } from "../../draw/ui.js";
import { Icon } from "../shared/ui.tsx";
import type { Board, Brush } from "./hooks.ts";

const COLORS: readonly [Brush["color"], label: string][] = [
  ["ink", "Ink"],
  ["red", "Red"],
  ["amber", "Amber"],
  ["green", "Green"],
  ["blue", "Blue"],
  ["violet", "Violet"],
  ["paper", "Eraser"],
];
const SIZES: readonly [Brush["size"], label: string][] = [
  [6, "Fine"],
  [14, "Medium"],
  [32, "Broad"],
];

export function Tools({ board, brush, choose }: { board: Board; brush: Brush; choose: (brush: Brush) => void }) {
  async function undo() {
    if ((await attempt(board.undo())) === false) toast("You have no stroke on this board.");
  }
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
      event.preventDefault();
      void undo();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [board]);
  return (
    <div className="tools" role="toolbar" aria-label="Drawing tools">
      <div className="group" role="radiogroup" aria-label="Colour">
        {COLORS.map(([color, label]) => (
          <label key={color} className="choice" title={label}>
            <input
              type="radio"
              name="color"
              aria-label={label}
              checked={color === brush.color}
              onChange={() => choose({ ...brush, color })}
            />
            <span
              className={color === "paper" ? "sample paper" : "sample"}
              style={{ "--sample": `var(--ink-${color})` } as CSSProperties}
            />
          </label>
        ))}
      </div>
      <div className="group" role="radiogroup" aria-label="Width">
        {SIZES.map(([size, label]) => (
          <label key={size} className="choice" title={label}>
            <input
              type="radio"
              name="size"
              aria-label={label}
              checked={size === brush.size}
              onChange={() => choose({ ...brush, size })}
            />
            <span className="sample width" style={{ "--width": `${4 + size / 2}px` } as CSSProperties} />
          </label>
        ))}
      </div>
      <div className="group">
        <button
          className="button quiet icon"
          aria-label="Undo my last stroke"
          title="Undo my last stroke (Ctrl Z)"
          onClick={undo}
        >
          <Icon path="M7 4 3.5 7.5 7 11M4 7.5h7.5a4.5 4.5 0 0 1 0 9H8" />
        </button>
        <button
          className="button quiet icon"
          aria-label="Clear the board"
          title="Clear the board for everybody"
          onClick={() => attempt(board.clear())}
        >
          <Icon path="M4 6h12M8 6V4h4v2M5.5 6l.8 10h7.4l.8-10M8.5 9v4M11.5 9v4" />
        </button>
      </div>
    </div>
  );
}
