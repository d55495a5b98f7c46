/** `zocket serve` as a process of its own. */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";

const INSTALLED = fileURLToPath(new URL("../../../.venv/bin/zocket", import.meta.url));
/** A busy machine needs some seconds to start Python. */
const START_LIMIT_MS = 60_000;

/** Serves `app:app` of a directory on a free port of the loopback interface until `stop`. */
export async function serve(directory, port) {
  const served = new Served(directory, port ?? (await freePort()));
  await served.start();
  return served;
}

class Served {
  #directory;
  #process;

  constructor(directory, port) {
    this.#directory = directory;
    this.port = port;
    this.url = `ws://127.0.0.1:${port}/`;
  }

  async start() {
    const command = existsSync(INSTALLED) ? INSTALLED : "zocket";
    const options = {
      cwd: this.#directory,
      env: { ...process.env, METRICS_PORT: "0" },
      stdio: ["ignore", "pipe", "pipe"],
    };
    this.#process = spawn(command, ["serve", "app:app", "--port", String(this.port)], options);
    process.once("exit", this.#kill);
    let output = "";
    let over = false;
    for (const stream of [this.#process.stdout, this.#process.stderr]) stream.on("data", (text) => (output += text));
    this.#process.once("error", (error) => (over = output += error));
    this.#process.once("exit", () => (over = true));
    const beganAt = performance.now();
    while (!(await this.#answers())) {
      if (over || performance.now() - beganAt > START_LIMIT_MS) {
        await this.stop();
        throw new Error(`zocket serve does not answer:\n${output}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  /** `kill -9`. */
  async stop() {
    process.removeListener("exit", this.#kill);
    if (this.#process.exitCode !== null || this.#process.signalCode !== null || this.#process.pid === undefined) return;
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#kill();
    await gone;
  }

  #kill = () => this.#process.kill("SIGKILL");

  async #answers() {
    try {
      return (await fetch(`http://127.0.0.1:${this.port}/health`)).ok;
    } catch {
      return false;
    }
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}
