/**
 * Callbacks of one kind.
 *
 * Rules: they are called in the order in which they came. One that throws is reported like any uncaught error, and
 * disturbs no other. One that was removed is not called any more, also by the round that is under way.
 */

/** Ends a subscription; a second call does nothing. */
export type Off = () => void;

export class Listeners<T> {
  readonly #entries = new Set<{ listener: (value: T) => void }>();

  get size(): number {
    return this.#entries.size;
  }

  /** Returns what ends it, which gives false if it was over already. The same function may listen twice. */
  add(listener: (value: T) => void): () => boolean {
    if (typeof listener !== "function") throw new TypeError("a listener must be a function");
    const entry = { listener };
    this.#entries.add(entry);
    return () => this.#entries.delete(entry);
  }

  notify(value: T): void {
    for (const entry of [...this.#entries]) {
      if (!this.#entries.has(entry)) continue;
      try {
        entry.listener(value);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
