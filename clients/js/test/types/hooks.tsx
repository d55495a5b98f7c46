/** The hooks as a typed app uses them. */

import { useActor as useAnyActor, useActorState, useConnectionStatus, useEvent, ZocketProvider } from "zocket/react";
import { createClient } from "zocket";

import type { Actors, Message, RoomState } from "./actors.js";

const useActor = useAnyActor.withTypes<Actors>();
const client = createClient<Actors>({ url: "ws://localhost:8000" });

export function Room({ id }: { id: string }) {
  const room = useActor("chat", id);
  const state: RoomState | undefined = useActorState(room);
  const count: number | undefined = useActorState(room, ({ messages }) => messages.length);
  const last: Message | undefined = useActorState(
    room,
    ({ messages }) => messages.at(-1) as Message,
    (a, b) => a.text === b.text,
  );
  useEvent(room, "posted", ({ author }) => author.toUpperCase());
  const status: "connecting" | "open" | "reconnecting" | "closed" = useConnectionStatus();

  // @ts-expect-error the selection is a number
  const text: string | undefined = useActorState(room, ({ messages }) => messages.length);
  // @ts-expect-error the state has no such field
  useActorState(room, ({ people }) => people);
  // @ts-expect-error there is no such event
  useEvent(room, "typed", () => {});
  // @ts-expect-error the payload has another type
  useEvent(room, "posted", (payload: number) => {});
  // @ts-expect-error there is no such actor
  useActor("lobby", "main");

  return <button onClick={() => room.post({ text: status })}>{count ?? state?.topic ?? last?.text}</button>;
}

export function Page() {
  return (
    <ZocketProvider client={client}>
      <Room id="general" />
    </ZocketProvider>
  );
}

export function Untyped() {
  const room = useAnyActor("chat", "general");
  useEvent(room, "anything", (payload) => payload.whatever);
  return <p>{useActorState(room, (state) => state.whatever)}</p>;
}
