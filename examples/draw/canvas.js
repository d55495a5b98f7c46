/** Strokes on a canvas, in board units. Knows pixels and paint; knows nothing of the server. */

export const BOARD_WIDTH = 1440;
export const BOARD_HEIGHT = 1200;

/** All points of a stroke of the state, as one flat list x, y, x, y, … */
export const pointsOf = (stroke) => stroke.chunks.flat();

export class Canvas {
  #context;

  constructor(element) {
    this.element = element;
    this.#context = element.getContext("2d");
  }

  /** Fits the canvas to `width` CSS pixels; what was drawn is gone. */
  resize(width) {
    const pixels = Math.round(width * devicePixelRatio);
    this.element.width = pixels;
    this.element.height = Math.round((pixels * BOARD_HEIGHT) / BOARD_WIDTH);
    const scale = pixels / BOARD_WIDTH;
    this.#context.setTransform(scale, 0, 0, scale, 0, 0);
    this.#context.lineCap = "round";
    this.#context.lineJoin = "round";
  }

  clear() {
    this.#context.clearRect(0, 0, BOARD_WIDTH, BOARD_HEIGHT);
  }

  /**
   * Draws `points` from the point number `from` on; with `from` > 0 it joins what is there already. The line runs through
   * the middles between the points, with each point as the control of a curve: smooth, and a part drawn later fits. So it
   * ends half a step before its last point, unless that point is there twice.
   */
  draw({ color, size }, points, from = 0) {
    const context = this.#context;
    context.strokeStyle = context.fillStyle = paint(color);
    context.lineWidth = size;
    const count = points.length / 2;
    const x = (at) => points[2 * at];
    const y = (at) => points[2 * at + 1];
    if (from === 0) {
      context.beginPath();
      context.arc(x(0), y(0), size / 2, 0, 2 * Math.PI);
      context.fill();
    }
    if (count < 2) return;
    context.beginPath();
    const start = Math.max(from, 1);
    if (start === 1) context.moveTo(x(0), y(0));
    else context.moveTo((x(start - 2) + x(start - 1)) / 2, (y(start - 2) + y(start - 1)) / 2);
    for (let at = start; at < count; at += 1) {
      context.quadraticCurveTo(x(at - 1), y(at - 1), (x(at - 1) + x(at)) / 2, (y(at - 1) + y(at)) / 2);
    }
    context.stroke();
  }
}

function paint(color) {
  const name = color === "paper" ? "--paper" : `--ink-${color}`;
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
