/**
 * RFC 6902 patches with structural sharing.
 *
 * Rules: a document is never changed. A patch makes a new one, in which the containers on the way to a change are copied,
 * each at most once for one list of operations, and everything else is shared with the old one: `===` tells whether a
 * part changed. A patch applies as a whole or not at all.
 */

import { ZocketError } from "./errors.js";

/** One operation; `op` is `add`, `replace`, `remove`, `move`, `copy` or `test`. */
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
  root: any;

  constructor(root: unknown) {
    this.root = root;
  }

  apply({ op, path, from, value }: Operation): void {
    switch (op) {
      case "add":
        return this.#add(path, value);
      case "replace":
        this.#get(path);
        return this.#set(path, value);
      case "remove":
        return void this.#remove(path);
      case "move":
        if (path.startsWith(`${from}/`)) throw badPatch("move into itself", path);
        return from === path ? void this.#get(path) : this.#add(path, this.#remove(String(from)));
      case "copy": {
        const source = this.#get(String(from));
        this.#owned.clear(); // reachable by two paths: writing through one must not show in the other
        return this.#add(path, source);
      }
      case "test":
        if (!equal(this.#get(path), value)) throw badPatch("test failed", path);
        return;
      default:
        throw badPatch(`unknown operation ${op}`, path);
    }
  }

  #get(path: string): any {
    let node = this.root;
    for (const key of keysOf(path)) node = node[existing(node, key, path)];
    return node;
  }

  #add(path: string, value: unknown): void {
    const parent = this.#writableParent(path);
    if (!Array.isArray(parent)) return this.#set(path, value);
    const key = lastKeyOf(path);
    const index = key === "-" ? parent.length : indexOf(key, path);
    if (index > parent.length) throw badPatch("beyond the end of the array", path);
    parent.splice(index, 0, value);
  }

  #set(path: string, value: unknown): void {
    if (path === "") {
      this.root = value;
      return;
    }
    const key = lastKeyOf(path);
    if (key === "__proto__") throw badPatch("a key that no state may have", path);
    this.#writableParent(path)[key] = value;
  }

  #remove(path: string): unknown {
    if (path === "") throw badPatch("cannot remove the whole state", path);
    const parent = this.#writableParent(path);
    const key = existing(parent, lastKeyOf(path), path);
    const value = parent[key];
    if (Array.isArray(parent)) parent.splice(Number(key), 1);
    else delete parent[key];
    return value;
  }

  /** The container that holds `path`, copied together with everything above it, unless this patch made them. */
  #writableParent(path: string): any {
    if (path === "") return undefined;
    let node = (this.root = this.#own(this.root, path));
    for (const key of keysOf(path).slice(0, -1)) {
      const place = existing(node, key, path);
      node = node[place] = this.#own(node[place], path);
    }
    return node;
  }

  #own(container: any, path: string): any {
    if (container === null || typeof container !== "object") throw badPatch("goes through a plain value", path);
    if (this.#owned.has(container)) return container;
    const copy = Array.isArray(container) ? container.slice() : { ...container };
    this.#owned.add(copy);
    return copy;
  }
}

const badPatch = (reason: string, path: string): ZocketError =>
  new ZocketError(`Patch at ${JSON.stringify(path)}: ${reason}`, { code: "bad_patch" });

function keysOf(path: string): string[] {
  if (path === "") return [];
  if (typeof path !== "string" || path[0] !== "/") throw badPatch("not a JSON pointer", path);
  const keys = path.slice(1).split("/");
  return path.includes("~") ? keys.map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~")) : keys;
}

const lastKeyOf = (path: string): string => keysOf(path).at(-1) as string;

function indexOf(key: string, path: string): number {
  if (!/^(0|[1-9]\d*)$/.test(key)) throw badPatch("not an array index", path);
  return Number(key);
}

/** `key` itself, if `container` has it. */
function existing(container: any, key: string, path: string): string {
  if (container === null || typeof container !== "object") throw badPatch("goes through a plain value", path);
  const there = Array.isArray(container) ? indexOf(key, path) < container.length : Object.hasOwn(container, key);
  if (!there) throw badPatch("no such place", path);
  return key;
}

/** JSON equality: the order of keys does not count. */
function equal(a: any, b: any): boolean {
  if (a === b) return true;
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && equal(a[key], b[key]));
}
