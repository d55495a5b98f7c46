/**
 * The calls of a client that have no answer yet.
 *
 * Rules: a call waits for a connection in the order in which it was made, is sent once and settled once. A socket that
 * drops rejects what was sent, because nobody knows whether it ran. Only a call with an idempotency key is sent again:
 * on the next socket, and after a delay when the server answers `unavailable` or `overloaded`. One time limit covers all
 * of that; a chunk of a stream starts it anew, and one that is missing or comes twice ends the stream. Whoever aborts is free at once, and the server is told if it takes that.
 */

import { CallTimeout, closedError, Disconnected, errorOf } from "./errors.js";
import type { Frame } from "./frames.js";

/** Delay before a refused call is sent again, at most; it doubles with every refusal. */
const RETRY_MIN_MS = 250;
/** The most that this delay grows to. */
const RETRY_MAX_MS = 2_000;
const GAP = "Chunks of the stream were lost, or it began anew";
/** Codes that say: not served, try again. */
const PASSING = new Set(["unavailable", "overloaded"]);

/** What is called. */
export interface Request {
  actor: string;
  actorId: string;
  method: string;
  input: unknown;
  idempotencyKey?: string | undefined;
}

/** How one call is watched. */
export interface Watch {
  limitMs: number;
  signal?: AbortSignal | undefined;
  /** Takes the chunks of a stream. */
  onChunk?: ((chunk: any) => void) | undefined;
}

/** A call that was made. */
export interface Started {
  answer: Promise<any>;
  /** Gives it up: rejects it with the reason, unless it is settled. */
  abort(reason: unknown): void;
}

interface Call extends Watch {
  resolve: (value: any) => void;
  reject: (reason: unknown) => void;
  name: string;
  text: string;
  timer: ReturnType<typeof setTimeout> | undefined;
  waits: boolean;
  /** How many have come. */
  chunks: number;
  repeats: boolean;
  refusals: number;
  pause: ReturnType<typeof setTimeout> | undefined;
  unlisten: () => void;
}

export class Calls {
  readonly #open = new Map<string, Call>();
  readonly #send: (frame: string) => boolean;
  readonly #random: () => number;
  #lastId = 0;
  /** Whether the server of the present connection takes `rpc:cancel`. */
  cancels = false;

  /** `send` gives false while there is no connection. */
  constructor(send: (frame: string) => boolean, random: () => number) {
    this.#send = send;
    this.#random = random;
  }

  start(request: Request, watch: Watch): Started {
    const id = String(++this.#lastId);
    const { signal } = watch;
    const abort = (reason: unknown): void => this.#abort(id, reason);
    const answer = new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = (): void => abort(signal?.reason);
      signal?.addEventListener("abort", onAbort);
      const text = JSON.stringify({ type: "rpc", id, ...request });
      this.#open.set(id, {
        ...watch,
        resolve,
        reject,
        name: `${request.actor}.${request.method}`,
        text,
        timer: this.#limit(id, watch.limitMs),
        waits: !this.#send(text),
        chunks: 0,
        repeats: request.idempotencyKey !== undefined,
        refusals: 0,
        pause: undefined,
        unlisten: () => signal?.removeEventListener("abort", onAbort),
      });
    });
    return { answer, abort };
  }

  /** A connection is open. */
  sendWaiting(): void {
    for (const call of this.#open.values()) {
      if (call.waits) call.waits = !this.#send(call.text);
    }
  }

  /** Takes an `rpc:result` or `rpc:stream`. */
  receive(frame: Frame): void {
    const id = String(frame.id);
    const call = this.#open.get(id);
    if (call === undefined) return; // it ran into its time limit, or was given up
    if (frame.type === "rpc:stream") {
      clearTimeout(call.timer);
      call.timer = this.#limit(id, call.limitMs);
      call.chunks += 1;
      if (hasGap(call, frame)) this.#abort(id, lostError(GAP));
      else call.onChunk?.(frame.chunk);
    } else if (call.repeats && PASSING.has(frame.code)) this.#sendLater(call);
    else {
      this.#take(id);
      if (typeof frame.error === "string") call.reject(errorOf(frame, frame.error));
      else if (hasGap(call, frame)) call.reject(lostError(GAP));
      else call.resolve(frame.result);
    }
  }

  /** The connection is gone: what was sent and has no key is rejected, everything else waits for the next one. */
  connectionLost(): void {
    this.cancels = false;
    const error = lostError("The connection was lost before the answer came");
    this.#rejectAll((call) => !call.waits && !call.repeats, error);
    for (const call of this.#open.values()) call.waits = call.pause === undefined;
  }

  clientClosed(): void {
    this.#rejectAll(() => true, closedError());
  }

  #sendLater(call: Call): void {
    const mostMs = Math.min(RETRY_MIN_MS * 2 ** call.refusals++, RETRY_MAX_MS);
    call.pause = setTimeout(() => {
      call.pause = undefined;
      call.waits = !this.#send(call.text);
    }, mostMs * this.#random());
  }

  #limit(id: string, limitMs: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      const call = this.#take(id) as Call;
      const cause = call.waits ? "there was no connection" : "no answer came";
      call.reject(new CallTimeout(`${call.name}: ${cause} within ${limitMs / 1000} s`));
    }, limitMs);
  }

  #abort(id: string, reason: unknown): void {
    const call = this.#take(id);
    if (call === undefined) return;
    if (this.cancels && !call.waits && call.pause === undefined) this.#send(JSON.stringify({ type: "rpc:cancel", id }));
    call.reject(reason);
  }

  #rejectAll(which: (call: Call) => boolean, error: Error): void {
    for (const [id, call] of [...this.#open]) {
      if (which(call)) this.#take(id)?.reject(error);
    }
  }

  /** Settles a call: nothing that comes later concerns it. */
  #take(id: string): Call | undefined {
    const call = this.#open.get(id);
    if (call === undefined) return undefined;
    this.#open.delete(id);
    clearTimeout(call.timer);
    clearTimeout(call.pause);
    call.unlisten();
    return call;
  }
}

/** Whether a frame of a stream says, where its server numbers them, that other chunks were sent than have come. */
const hasGap = ({ onChunk, chunks }: Call, { seq = chunks }: Frame): boolean => onChunk !== undefined && seq !== chunks;

const lostError = (message: string): Disconnected => new Disconnected(message, { code: "disconnected" });
