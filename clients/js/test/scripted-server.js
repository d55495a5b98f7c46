/** A WebSocket server that does what its test says: real sockets, no actors. */

import { once } from "node:events";

import { WebSocketServer } from "ws";

/** Runs the body with the address of a server and with what gives its next connection; stops the server afterwards. */
export async function withServer(body) {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const peers = queue();
  server.on("connection", (socket) => peers.put(new Peer(socket)));
  try {
    await body(`ws://127.0.0.1:${server.address().port}/`, () => peers.take());
  } finally {
    for (const socket of server.clients) socket.terminate();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** The server's end of one connection. */
class Peer {
  #socket;
  #frames = queue();

  constructor(socket) {
    this.#socket = socket;
    socket.on("message", (text) => this.#frames.put(JSON.parse(text)));
  }

  /** The next frame of the client. */
  next() {
    return this.#frames.take();
  }

  say(...frames) {
    for (const frame of frames) this.#socket.send(JSON.stringify(frame));
  }

  drop() {
    this.#socket.terminate();
  }
}

function queue() {
  const values = [];
  const takers = [];
  return {
    put: (value) => (takers.shift() ?? ((late) => values.push(late)))(value),
    take: () => (values.length > 0 ? Promise.resolve(values.shift()) : new Promise((resolve) => takers.push(resolve))),
  };
}
