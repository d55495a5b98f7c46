/** A WebSocket under the test's control: nothing happens on it until the test says so. */
export class FakeSocket extends EventTarget {
  /** @type {FakeSocket[]} every socket that was made since `forget()`, oldest first */
  static made = [];

  static get last() {
    return FakeSocket.made.at(-1);
  }

  static forget() {
    FakeSocket.made = [];
  }

  constructor(url) {
    super();
    this.url = url;
    this.sent = [];
    this.closed = false;
    FakeSocket.made.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.closed = true;
  }

  /** The server accepts. */
  open() {
    this.dispatchEvent(new Event("open"));
  }

  /** The network drops it, or the server closes it with a code. */
  drop(code = 1006) {
    this.dispatchEvent(Object.assign(new Event("close"), { code }));
  }

  /** The server sends a frame; a string goes as it is. */
  say(frame) {
    const data = typeof frame === "string" ? frame : JSON.stringify(frame);
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }

  /** Takes what was sent since the last call. */
  take() {
    return this.sent.splice(0);
  }
}
