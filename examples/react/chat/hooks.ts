/** Hooks of this app: `useActor` with its types, who one is, who is in the room, who types. */

import { useEffect, useRef, useState } from "react";
import { useActor as useAnyActor, useActorState, useClient, useConnectionStatus, useEvent } from "zocket/react";
import type { Handle } from "zocket";

import { inWords, toast } from "../../chat/ui.js";
import type { Actors, ChatRoom } from "./actors.ts";

export const useActor = useAnyActor.withTypes<Actors>();

/** One room, as a component has it. */
export type Room = Handle<ChatRoom>;

/** A sign that somebody types is shown for this long. */
const TYPING_SHOWN_MS = 3_500;

/** The person's name, kept by the browser; undefined on a server and until the page has looked. */
export function useName(): [name: string | undefined, rename: (name: string) => void] {
  const [name, setName] = useState<string>();
  useEffect(() => {
    const guest = `Guest ${Math.floor(100 + Math.random() * 900)}`;
    setName((known) => known ?? localStorage.getItem("name") ?? guest);
  }, []);
  const rename = (chosen: string) => {
    localStorage.setItem("name", chosen);
    setName(chosen);
  };
  return [name, rename];
}

/** Is in the room by this name until the component goes: also after a reconnect, or a restart that knows a guest only. */
export function usePresence(room: Room, name: string | undefined): void {
  const client = useClient();
  const status = useConnectionStatus();
  const known = useActorState(room, ({ online }) => online[client.id ?? ""]?.name ?? null);
  useEffect(() => {
    if (name === undefined || known === undefined || known === name || status !== "open") return;
    room.join({ name }).catch((error) => {
      if (error.code !== "disconnected") toast(inWords(error)); // the next connection joins again
    });
  }, [room, name, known, status]);
  useEffect(
    () => () => {
      if (client.status === "open") room.leave().catch(() => {}); // a lost connection leaves by itself
    },
    [client, room],
  );
}

/** The sessions that this page has had: what it wrote stays its own after a reconnect. */
export function useOwnSessions(): readonly string[] {
  const { id } = useClient();
  const [own, setOwn] = useState<readonly string[]>([]);
  useEffect(() => {
    if (id !== undefined) setOwn((known) => (known.includes(id) ? known : [...known, id]));
  }, [id]);
  return own;
}

/** Names of those who are typing in the room. */
export function useTyping(room: Room): readonly string[] {
  const [typing, setTyping] = useState<ReadonlyMap<string, string>>(new Map());
  const timers = useRef(new Map<string, ReturnType<typeof setTimeout>>());
  const stop = (session: string) => {
    clearTimeout(timers.current.get(session));
    setTyping((before) => new Map([...before].filter(([other]) => other !== session)));
  };
  useEvent(room, "typing", ({ session, name }) => {
    clearTimeout(timers.current.get(session));
    timers.current.set(session, setTimeout(() => stop(session), TYPING_SHOWN_MS));
    setTyping((before) => new Map(before).set(session, name));
  });
  useEvent(room, "posted", ({ session }) => stop(session));
  return [...typing.values()];
}
