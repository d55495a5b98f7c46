/**
 * A stream of events from the server that comes back by itself.
 *
 * Rules: a hidden page holds no stream, since browsers allow six connections to one server over all tabs; whoever
 * listens is told of every (re)opening, and reads then what it may have missed.
 */

const FIRST_DELAY_MS = 400;
const LONGEST_DELAY_MS = 10_000;

export class Stream {
  #path;
  #listeners;
  #onOpen;
  #onStatus;
  #source = null;
  #timer = null;
  #delay = FIRST_DELAY_MS;
  #isOver;
  #stopped = false;

  /**
   * @param path where the stream is.
   * @param listeners functions by event name; each gets the parsed JSON.
   * @param onOpen called each time the stream is open.
   * @param onStatus called with "connecting", "open" or "reconnecting".
   * @param isOver whether the stream has come to its end when it ends, and is not opened again; `onStatus` gets "ended".
   * @param signal ends it.
   */
  constructor(path, { listeners, onOpen = () => {}, onStatus = () => {}, isOver = () => false, signal }) {
    this.#path = path;
    this.#isOver = isOver;
    this.#listeners = listeners;
    this.#onOpen = onOpen;
    this.#onStatus = onStatus;
    signal.addEventListener("abort", () => this.#stop());
    document.addEventListener("visibilitychange", () => this.#follow(), { signal });
    addEventListener("online", () => this.#again(), { signal });
    this.#onStatus("connecting");
    this.#follow();
  }

  #follow() {
    if (document.hidden) this.#close();
    else if (!this.#source) this.#open();
  }

  #open() {
    if (this.#stopped || document.hidden) return;
    this.#close();
    const source = new EventSource(this.#path);
    this.#source = source;
    let wasOpen = false;
    source.onopen = () => {
      wasOpen = true;
      this.#delay = FIRST_DELAY_MS;
      this.#onStatus("open");
      this.#onOpen();
    };
    source.onerror = () => {
      this.#close();
      if (wasOpen && this.#isOver()) {
        this.#stopped = true;
        this.#onStatus("ended");
        return;
      }
      this.#onStatus("reconnecting");
      this.#timer = setTimeout(() => this.#open(), this.#delay * (0.75 + Math.random() / 2));
      this.#delay = Math.min(this.#delay * 2, LONGEST_DELAY_MS);
    };
    for (const [name, listener] of Object.entries(this.#listeners)) {
      source.addEventListener(name, (event) => {
        if (source === this.#source) listener(parsed(event.data));
      });
    }
  }

  #again() {
    if (this.#timer) this.#open();
  }

  #close() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#source?.close();
    this.#source = null;
  }

  #stop() {
    this.#stopped = true;
    this.#close();
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
