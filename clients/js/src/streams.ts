/** Streams of a call as async iterators. */

import type { Started } from "./calls.js";
import { ZocketError } from "./errors.js";

/** Chunks that wait for a slow reader, at most: one more ends the stream with the code `overloaded`. */
export const MAX_WAITING_CHUNKS = 10_000;

/**
 * The chunks of a call in their order, then its result as the generator's return value.
 *
 * Rules: the call is made with the first step; leaving the loop gives it up. An error comes after the chunks that came
 * before it, an abort comes at once.
 *
 * @param start makes the call
 */
export async function* chunksOf(
  start: (onChunk: (chunk: any) => void) => Started,
  signal: AbortSignal | undefined,
): AsyncGenerator<any, any, void> {
  const waiting: any[] = [];
  let ended = false;
  let wake = (): void => {};
  const { answer, abort } = start((chunk) => {
    if (waiting.push(chunk) > MAX_WAITING_CHUNKS) abort(tooSlow());
    wake();
  });
  const end = (): void => {
    ended = true;
    wake();
  };
  answer.then(end, end);
  try {
    for (;;) {
      while (waiting.length > 0) {
        signal?.throwIfAborted();
        yield waiting.shift();
      }
      if (ended) return await answer;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    abort(undefined);
  }
}

const tooSlow = (): ZocketError =>
  new ZocketError(`More than ${MAX_WAITING_CHUNKS} chunks wait for their reader`, { code: "overloaded" });
