/**
 * The errors of a client.
 *
 *     ZocketError
 *     ├── CallTimeout     no answer within the time limit, or the server's own limit passed
 *     └── Disconnected    the connection dropped before the answer came, or the client is closed
 *
 * Rules: match on the class or on `code`, never on the text. A call that was aborted rejects with the signal's reason.
 */

/** What an error says beside its text. */
export interface ErrorDetails {
  code?: string | undefined;
  requestId?: string | undefined;
  data?: unknown;
}

/** The server answered with an error, or one of the client's own: `timeout`, `disconnected`, `closed`, `bad_patch`, … */
export class ZocketError extends Error {
  override name = "ZocketError";
  /** Stable, lower case with underscores; `error` from a server that sends none. */
  declare readonly code: string;
  /** Finds the log lines of the call on the server. */
  declare readonly requestId: string | undefined;
  /** Details that the actor attached. */
  declare readonly data: unknown;

  constructor(message: string, { code = "error", requestId, data }: ErrorDetails = {}) {
    super(message);
    Object.assign(this, { code, requestId, data });
  }
}

/** No answer within the time limit; the call may still take effect. Its code is `timeout`. */
export class CallTimeout extends ZocketError {
  override name = "CallTimeout";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, { ...details, code: "timeout" });
  }
}

/** A call was sent and may or may not have run (code `disconnected`), or there is no client any more (code `closed`). */
export class Disconnected extends ZocketError {
  override name = "Disconnected";
}

/** The error of a client that was closed. */
export const closedError = (): Disconnected => new Disconnected("The client is closed", { code: "closed" });

/** The error that a frame of the server carries. */
export const errorOf = (frame: ErrorDetails, message: string): ZocketError =>
  frame.code === "timeout" ? new CallTimeout(message, frame) : new ZocketError(message, frame);
