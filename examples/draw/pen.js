/** The pen: shows a stroke at once on a layer of its own, and hands its points on in chunks. Knows nothing of the server. */

/** Points of a stroke travel together in chunks: one call and one small patch in this time. */
const CHUNK_EVERY_MS = 60;
/** The server takes this many points in one call. */
const MOST_POINTS = 128;
/** The server takes a stroke of at most 400 chunks; longer ones go on as a new stroke. */
const MOST_CHUNKS = 380;
/** A point nearer to the last one than this adds nothing that could be seen; in board units. */
const LEAST_STEP = 3;

/** @template {import("./canvas.js").Brush} Brush */
export class Pen {
  #layer;
  #send;
  #failed;
  #stroke = null;
  #pending = new Set(); // strokes that the state does not hold completely yet

  /**
   * @param {import("./canvas.js").Canvas} layer
   * @param {(id: string, brush: Brush, points: number[], first: boolean) => Promise<unknown>} send
   *   sends points of a stroke, in their order; those after a failure are not sent
   * @param {(error: unknown) => void} failed is told once a stroke why it is incomplete
   */
  constructor(layer, send, failed) {
    this.#layer = layer;
    this.#send = send;
    this.#failed = failed;
  }

  get isDown() {
    return this.#stroke !== null;
  }

  /**
   * @param {Brush} brush
   * @param {number} x
   * @param {number} y
   */
  down(brush, x, y) {
    this.#stroke = new Stroke(brush, x, y, this.#layer, this.#send, this.#failed);
    this.#pending.add(this.#stroke);
  }

  /**
   * Draws on to a place; nothing while the pen is up.
   *
   * @param {number} x
   * @param {number} y
   */
  to(x, y) {
    if (this.#stroke === null) return;
    this.#stroke.to(x, y);
    if (!this.#stroke.full) return;
    const { brush } = this.#stroke;
    this.up();
    this.down(brush, x, y);
  }

  async up() {
    const stroke = this.#stroke;
    this.#stroke = null;
    if (stroke === null) return;
    await stroke.end();
    this.#pending.delete(stroke); // the state holds it now, or never will
    this.redraw();
  }

  /** @param {number} width */
  resize(width) {
    this.#layer.resize(width);
    this.redraw();
  }

  redraw() {
    this.#layer.clear();
    for (const stroke of this.#pending) this.#layer.draw(stroke.brush, stroke.points);
  }
}

/** One stroke, from the first touch until the server has all of it. */
class Stroke {
  id = `s${Math.random().toString(36).slice(2, 12).padEnd(8, "0")}`;
  points = [];
  #layer;
  #send;
  #failed;
  #sent = 0;
  #chunks = 0;
  #calls = [];
  #broken = false;
  #timer = setInterval(() => this.#hand(), CHUNK_EVERY_MS);

  constructor(brush, x, y, layer, send, failed) {
    this.brush = brush;
    this.#layer = layer;
    this.#send = send;
    this.#failed = failed;
    this.points.push(x, y);
    layer.draw(brush, this.points);
  }

  get full() {
    return this.#chunks >= MOST_CHUNKS;
  }

  to(x, y) {
    const [lastX, lastY] = this.points.slice(-2);
    if (Math.hypot(x - lastX, y - lastY) < LEAST_STEP) return;
    const from = this.points.length / 2;
    this.points.push(x, y);
    this.#layer.draw(this.brush, this.points, from);
  }

  /** Resolves when the server has answered for every chunk. */
  async end() {
    clearInterval(this.#timer);
    const from = this.points.length / 2;
    if (from > 1) this.points.push(...this.points.slice(-2)); // twice: the line reaches it
    this.#layer.draw(this.brush, this.points, from);
    this.#hand();
    await Promise.all(this.#calls);
  }

  #hand() {
    while (this.#sent < this.points.length && !this.#broken) {
      const points = this.points.slice(this.#sent, this.#sent + 2 * MOST_POINTS);
      const first = this.#sent === 0;
      this.#sent += points.length;
      this.#chunks += 1;
      this.#calls.push(this.#call(points, first));
    }
  }

  async #call(points, first) {
    try {
      await this.#send(this.id, this.brush, points, first);
    } catch (error) {
      if (!this.#broken) this.#failed(error);
      this.#broken = true;
    }
  }
}
