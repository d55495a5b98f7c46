/**
 * What a client has subscribed to of one actor instance; any number of handles share it.
 *
 * Rules: one `state:sub` and one `event:sub` on the wire however many listeners there are, one `unsub` when the last
 * leaves. A snapshot is never changed. Where the server numbers the versions of a state, a patch is applied only if it
 * leads on from the version that is here; a missing one is asked for, and a new socket asks only for what it missed. A
 * patch that does not fit is answered by asking for a fresh snapshot.
 */

import type { Frame } from "./frames.js";
import { Listeners, type Off } from "./listeners.js";
import { applyPatch, type Operation } from "./patch.js";

/** Of a state: one life of it, and a count of its patches. */
interface Version {
  epoch: string;
  seq: number;
}

const versionOf = ({ epoch, seq }: Frame): Version | undefined =>
  typeof epoch === "string" && Number.isInteger(seq) ? { epoch, seq } : undefined;

export class Subscription {
  readonly #events = new Map<string, Listeners<any>>();
  readonly #stateListeners = new Listeners<any>();
  readonly #send: (type: string, more?: object) => void;
  /** False until the answer to the newest `state:sub` is here: patches have nothing to apply to. */
  #inStep = false;
  /** What the server calls the state that is here, if it numbers its versions. */
  #version: Version | undefined;
  /** The newest state; `undefined` before the first snapshot and when nobody listens. */
  state: any = undefined;

  /** `send` takes the type of a frame and further fields, and drops it without a connection. */
  constructor(send: (type: string, more?: object) => void) {
    this.#send = send;
  }

  get empty(): boolean {
    return this.#events.size === 0 && this.#stateListeners.size === 0;
  }

  onEvent(event: string, listener: (payload: any) => void): Off {
    const listeners = this.#events.get(event) ?? new Listeners();
    const remove = listeners.add(listener);
    const first = this.#events.size === 0;
    this.#events.set(event, listeners);
    if (first) this.#send("event:sub");
    return () => {
      if (!remove() || listeners.size > 0) return;
      this.#events.delete(event);
      if (this.#events.size === 0) this.#send("event:unsub");
    };
  }

  onState(listener: (state: any) => void): Off {
    const remove = this.#stateListeners.add(listener);
    if (this.#stateListeners.size === 1) this.#askForState();
    return () => {
      if (!remove() || this.#stateListeners.size > 0) return;
      this.state = undefined; // nobody keeps it fresh any more
      this.#version = undefined;
      this.#inStep = false;
      this.#send("state:unsub");
    };
  }

  /** On a new socket: says again what is wanted. */
  renew(): void {
    if (this.#events.size > 0) this.#send("event:sub");
    if (this.#stateListeners.size > 0) this.#askForState();
  }

  /** Takes an `event`, `state:snapshot` or `state:patch`. */
  receive(frame: Frame): void {
    if (frame.type === "event") return this.#events.get(frame.event)?.notify(frame.payload);
    if (this.#stateListeners.size === 0) return; // was on its way when the last listener left
    const version = versionOf(frame);
    if (frame.type === "state:snapshot") this.#become(frame.state, version);
    else if (this.#isNext(version)) this.#patch(frame.patches, version);
  }

  /** Whether a patch leads on from the state that is here; where one is missing, asks for it. */
  #isNext(version: Version | undefined): boolean {
    const known = this.#version;
    if (version === undefined || known === undefined) return this.#inStep;
    const isOther = version.epoch !== known.epoch;
    if (isOther) this.#version = undefined;
    if (isOther || version.seq > known.seq + 1) {
      if (this.#inStep) this.#askForState();
      return false;
    }
    if (version.seq === known.seq) this.#inStep = true; // nothing was missed
    return version.seq > known.seq;
  }

  #patch(operations: Operation[], version: Version | undefined): void {
    let next;
    try {
      next = applyPatch(this.state, operations);
    } catch {
      this.#version = undefined;
      return this.#askForState();
    }
    this.#become(next, version);
  }

  #become(state: any, version: Version | undefined): void {
    this.#inStep = true;
    this.#version = version;
    this.state = state;
    this.#stateListeners.notify(state);
  }

  /** Patches will do from the version that is here on; without one a snapshot comes. They may say `append`. */
  #askForState(): void {
    this.#inStep = false;
    this.#send("state:sub", { append: true, since: this.#version });
  }
}
