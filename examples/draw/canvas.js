/** Strokes on a canvas, in board units. Knows pixels and paint; knows nothing of the server. */

/** @typedef {{ color: string, size: number }} Brush */
/** @typedef {Brush & { chunks: number[][] }} Stroke */

export const BOARD_WIDTH = 1440;
export const BOARD_HEIGHT = 1200;

/**
 * How wide the board is, in CSS pixels, so that it fits into an area.
 *
 * @param {number} width
 * @param {number} height
 */
export function widthWithin(width, height) {
  return Math.floor(Math.min(width - 24, ((height - 20) * BOARD_WIDTH) / BOARD_HEIGHT));
}

/** @param {number} width */
export const heightOf = (width) => Math.floor((width * BOARD_HEIGHT) / BOARD_WIDTH);

/**
 * Where a pointer is, in board units, kept on the board.
 *
 * @param {{ clientX: number, clientY: number }} event
 * @param {HTMLElement} board
 * @returns {[x: number, y: number]}
 */
export function onBoard(event, board) {
  const box = board.getBoundingClientRect();
  const within = (value, most) => Math.max(0, Math.min(most, Math.round(value)));
  return [
    within(((event.clientX - box.left) / box.width) * BOARD_WIDTH, BOARD_WIDTH),
    within(((event.clientY - box.top) / box.height) * BOARD_HEIGHT, BOARD_HEIGHT),
  ];
}

export class Canvas {
  #context;

  /** @param {HTMLCanvasElement} element */
  constructor(element) {
    this.element = element;
    this.#context = element.getContext("2d");
  }

  /**
   * Fits the canvas to `width` CSS pixels; what was drawn is gone.
   *
   * @param {number} width
   */
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
   *
   * @param {Brush} brush
   * @param {number[]} points
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

/** The strokes of the state on a canvas: draws only what came, unless something went. */
export class Drawing {
  #canvas;
  #strokes = {};
  #drawn = new Map(); // stroke id → {stroke, points} as they are on the canvas

  /** @param {Canvas} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
  }

  /** @param {Readonly<Record<string, Stroke>>} strokes */
  show(strokes) {
    this.#strokes = strokes;
    const ids = Object.keys(strokes);
    const onlyGrew = [...this.#drawn.keys()].every((id, at) => id === ids[at]);
    if (!onlyGrew) this.#forget();
    for (const id of ids) {
      const before = this.#drawn.get(id);
      if (before?.stroke === strokes[id]) continue; // patched states share what did not change
      const points = strokes[id].chunks.flat();
      if (points.length !== before?.points) this.#canvas.draw(strokes[id], points, before ? before.points / 2 : 0);
      this.#drawn.set(id, { stroke: strokes[id], points: points.length });
    }
  }

  /**
   * Shows the same in another size.
   *
   * @param {number} width
   */
  resize(width) {
    this.#canvas.resize(width);
    this.redraw();
  }

  /** The same again: the colours are others. */
  redraw() {
    this.#forget();
    this.show(this.#strokes);
  }

  #forget() {
    this.#canvas.clear();
    this.#drawn = new Map();
  }
}

function paint(color) {
  const name = color === "paper" ? "--paper" : `--ink-${color}`;
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
