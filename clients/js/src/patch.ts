/**
 * RFC 6902 patches, and `append` to a text, with structural sharing.
 *
 * Rules: a document is never changed. A patch makes a new one, in which the containers on the way to a change are copied,
 * each at most once for one list of operations, and everything else is shared with the old one: `===` tells whether a
 * part changed. A patch applies as a whole or not at all.
 */

import { ZocketError } from "./errors.js";

/** One operation; `op` is `add`, `replace`, `remove`, `move`, `copy`, `test`, or `append` of a text to a text. */
export interface Operation {
  op: string;
  path: string;
  from?: string;
  value?: unknown;
}

/**
 * Applies operations and returns the new document.
 *
 * @throws ZocketError with the code `bad_patch`: an operation does not fit the document
 */
export function applyPatch<T = any>(document: unknown, operations: readonly Operation[]): T {
  const patch = new Patch(document);
  for (const operation of operations) patch.apply(operation);
  return patch.root;
}

class Patch {
  /** Containers made by this patch: only these may be written to. */
  readonly #owned = new Set<object>();
  /** Holds the document as its member "": with that name every pointer begins, once it is split. */
  #top: any;

  constructor(root: unknown) {
    this.#top = { "": root };
  }

  get root(): any {
    return this.#top[""];
  }

  apply({ op, path, from, value }: Operation): void {
    switch (op) {
      case "add":
        return this.#add(path, value);
      case "replace":
        this.#get(path);
        return this.#set(path, value);
      case "append": {
        const text = this.#get(path);
        if (typeof text !== "string" || typeof value !== "string") throw badPatch(path);
        return this.#set(path, text + value);
      }
      case "remove":
        return void this.#remove(path);
      case "move":
        if (path.startsWith(`${from}/`)) throw badPatch(path);
        return from === path ? void this.#get(path) : this.#add(path, this.#remove(String(from)));
      case "copy": {
        const source = this.#get(String(from));
        this.#owned.clear(); // reachable by two paths: writing through one must not show in the other
        return this.#add(path, source);
      }
      case "test":
        if (!equal(this.#get(path), value)) throw badPatch(path);
        return;
      default:
        throw badPatch(path);
    }
  }

  #get(path: string): any {
    let node = this.#top;
    for (const key of keysOf(path)) node = node[existing(node, key, path)];
    return node;
  }

  #add(path: string, value: unknown): void {
    const [parent, key] = this.#place(path);
    if (!Array.isArray(parent)) {
      parent[key] = value;
      return;
    }
    const index = key === "-" ? parent.length : indexOf(key);
    if (!(index <= parent.length)) throw badPatch(path);
    parent.splice(index, 0, value);
  }

  #set(path: string, value: unknown): void {
    const [parent, key] = this.#place(path);
    parent[key] = value;
  }

  #remove(path: string): unknown {
    if (path === "") throw badPatch(path);
    const [parent, key] = this.#place(path);
    const value = parent[existing(parent, key, path)];
    if (Array.isArray(parent)) parent.splice(Number(key), 1);
    else delete parent[key];
    return value;
  }

  /** The container that holds `path` and the key there; copied with everything above it, unless this patch made them. */
  #place(path: string): [parent: any, key: string] {
    const keys = keysOf(path);
    const last = keys.pop() as string;
    if (last === "__proto__") throw badPatch(path); // a key that no state may have
    let node = (this.#top = this.#own(this.#top, path));
    for (const key of keys) node = node[key] = this.#own(node[existing(node, key, path)], path);
    return [node, last];
  }

  #own(container: any, path: string): any {
    if (!isContainer(container)) throw badPatch(path);
    if (this.#owned.has(container)) return container;
    const copy = Array.isArray(container) ? container.slice() : { ...container };
    this.#owned.add(copy);
    return copy;
  }
}

const badPatch = (path: string): ZocketError =>
  new ZocketError(`A patch does not fit at ${JSON.stringify(path)}`, { code: "bad_patch" });

/** The parts of a pointer, of which the first is empty. */
function keysOf(path: string): string[] {
  const keys = `${path}`.split("/");
  if (keys[0] !== "") throw badPatch(path);
  return keys.map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** NaN for what is no index. */
const indexOf = (key: string): number => (/^(0|[1-9]\d*)$/.test(key) ? Number(key) : NaN);

const isContainer = (value: unknown): boolean => value !== null && typeof value === "object";

/** `key` itself, if `container` has it. */
function existing(container: any, key: string, path: string): string {
  const isThere =
    isContainer(container) &&
    (Array.isArray(container) ? indexOf(key) < container.length : Object.hasOwn(container, key));
  if (!isThere) throw badPatch(path);
  return key;
}

/** JSON equality: the order of keys does not count. */
function equal(a: any, b: any): boolean {
  if (a === b) return true;
  if (!isContainer(a) || !isContainer(b) || Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && equal(a[key], b[key]));
}
