/**
 * Names that are made when they are asked for: `room.post`, `client.chat`.
 *
 * Rules: what a class declares wins; a made value is kept on its owner, so that it is the same every time; nothing is
 * assigned to such an owner from outside. `then`, `toJSON` and the names of every object are never made, or an awaited,
 * printed or serialized owner would turn them into calls.
 */

/**
 * Lets instances of a class have any name.
 *
 * @param make gives the value of a name that an instance does not have
 */
export function makeNames<T extends object>(cls: { prototype: T }, make: (owner: T, name: string) => unknown): void {
  const fallback = new Proxy(Object.prototype, {
    get(target, name, owner: T) {
      if (typeof name === "symbol" || name in target) return Reflect.get(target, name, owner);
      if (name === "then" || name === "toJSON") return undefined;
      const value = make(owner, name);
      Object.defineProperty(owner, name, { value });
      return value;
    },
    set(_target, name, _value, owner) {
      throw new TypeError(`${owner}.${String(name)} cannot be assigned`);
    },
  });
  Object.setPrototypeOf(cls.prototype, fallback);
}
