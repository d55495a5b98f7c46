/** Hooks of this app: `useActor` with its types, and who is at the board. */

import type { Handle } from "zocket";
import { useActor as useAnyActor, useActorState, useClient } from "zocket/react";

import type { Actors, Board as BoardActor, Stroke } from "./actors.ts";

export const useActor = useAnyActor.withTypes<Actors>();

/** One board, as a component has it. */
export type Board = Handle<BoardActor>;

/** What the pen draws with. */
export type Brush = Pick<Stroke, "color" | "size">;

/** Who is at the board, oneself first. */
export function usePeople(board: Board): { session: string; name: string; me: boolean }[] {
  const { id } = useClient();
  const people = useActorState(board, (state) => state.people) ?? {};
  return Object.entries(people)
    .map(([session, { name }]) => ({ session, name, me: session === id }))
    .sort((a, b) => Number(b.me) - Number(a.me));
}
