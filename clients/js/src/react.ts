/**
 * Zocket in React: components that show the state of actors and hear their events.
 *
 *     function Room({ id }: { id: string }) {
 *       const room = useActor("chat", id);
 *       const count = useActorState(room, (state) => state.messages.length);
 *       useEvent(room, "posted", (message) => notify(message));
 *       return <button onClick={() => room.post({ text: "hello" })}>{count ?? "…"}</button>;
 *     }
 *
 * Rules: rendering connects nothing and subscribes to nothing, so it is safe on a server and may be repeated; effects
 * do. What a component gives up is unsubscribed after the present task, so that whoever takes it up in the same commit
 * (StrictMode's second run, another component) keeps the one subscription on the wire.
 */

import {
  createContext,
  createElement,
  type FunctionComponentElement,
  type ProviderProps,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useSyncExternalStore,
} from "react";

import type { Client } from "./client.js";
import type { Status } from "./connection.js";
import type { Off } from "./listeners.js";
import type { ActorsShape, Emitting, Handle, Stateful } from "./types.js";

const ClientContext = createContext<Client | undefined>(undefined);

/** Gives a client to the components below. It neither connects nor closes the client, which belongs to who made it. */
export function ZocketProvider<A>(props: {
  client: Client<A>;
  children?: ReactNode;
}): FunctionComponentElement<ProviderProps<Client | undefined>> {
  return createElement(ClientContext.Provider, { value: props.client as unknown as Client }, props.children);
}

/**
 * The client of the nearest `ZocketProvider`.
 *
 * @throws Error: there is none
 */
export function useClient(): Client {
  const client = useContext(ClientContext);
  if (client === undefined) throw new Error("there is no <ZocketProvider> above this component");
  return client;
}

/** `useActor` for an app that has these actors. */
export type UseActor<A> = <K extends keyof A & string>(type: K, id: string) => Handle<A[K]>;

function useAnyActor(type: string, id: string): Handle {
  const client = useClient();
  return useMemo(() => client.actor(type, id), [client, type, id]);
}

/**
 * The handle of an instance, the same one as long as client, type and id are the same.
 *
 * Everything about it is `any`, until an app says once which actors it has:
 *
 *     export const useActor = useAnyActor.withTypes<Actors>();
 */
export const useActor = Object.assign(useAnyActor, {
  withTypes: <A extends ActorsShape<A>>(): UseActor<A> => useAnyActor as unknown as UseActor<A>,
});

/**
 * The newest state of an instance, or what the selector makes of it; `undefined` until it has come, and on a server.
 *
 * The component renders again only if the selection changed by `isEqual`. Parts of a state that did not change are the
 * same objects, so a selector that picks one needs no `isEqual` of its own.
 */
export function useActorState<S, T = S>(
  handle: Stateful<S>,
  selector?: (state: S) => T,
  isEqual: (a: T, b: T) => boolean = Object.is,
): T | undefined {
  const store = handle.state;
  const subscribe = useCallback((changed: () => void) => late(store.subscribe(changed)), [store]);
  /** What was last shown: a selection that equals it is replaced by it. */
  const shown = useRef<{ selection: T } | undefined>(undefined);
  const select = useMemo(() => {
    let known: { state: S; selection: T } | undefined;
    return (): T | undefined => {
      const state = store.getSnapshot();
      if (state === undefined) return undefined;
      if (known !== undefined && Object.is(known.state, state)) return known.selection;
      const made = selector === undefined ? (state as unknown as T) : selector(state);
      const before = known ?? shown.current;
      const selection = before !== undefined && isEqual(before.selection, made) ? before.selection : made;
      known = { state, selection };
      return selection;
    };
  }, [store, selector, isEqual]);
  const selection = useSyncExternalStore(subscribe, select, nothing);
  useEffect(() => {
    shown.current = selection === undefined ? undefined : { selection };
  }, [selection]);
  return selection;
}

/** Calls the listener of the newest render with every event of this name, as long as the component is there. */
export function useEvent<E, N extends keyof E & string>(
  handle: Emitting<E>,
  event: N,
  listener: (payload: E[N]) => void,
): void {
  const newest = useRef(listener);
  useEffect(() => {
    newest.current = listener;
  });
  useEffect(() => late(handle.on(event, (payload) => newest.current(payload))), [handle, event]);
}

/** The status of the client: `connecting`, `open`, `reconnecting` or `closed`; `connecting` on a server. */
export function useConnectionStatus(): Status {
  const client = useClient();
  const subscribe = useCallback((changed: () => void) => late(client.onStatus(changed)), [client]);
  return useSyncExternalStore(subscribe, () => client.status, connecting);
}

const late = (off: Off): Off => () => queueMicrotask(off);
const nothing = (): undefined => undefined;
const connecting = (): Status => "connecting";
