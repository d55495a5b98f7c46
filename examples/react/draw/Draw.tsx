/** The whole page: the board that the address names, who is there, and the tools. */

import { useState } from "react";

import { Avatar, ConnectionBadge, usePlace, useSaidErrors } from "../shared/ui.tsx";
import { type Board, type Brush, useActor, usePeople } from "./hooks.ts";
import { Stage } from "./Stage.tsx";
import { Tools } from "./Tools.tsx";

export function Draw() {
  const place = usePlace("main");
  const board = useActor("board", place);
  const [brush, setBrush] = useState<Brush>({ color: "ink", size: 14 });
  useSaidErrors();
  return (
    <div className="app">
      <header className="top">
        <h1>
          Drawing board<span className="where"> / {place}</span>
        </h1>
        <ConnectionBadge />
        <Faces board={board} />
      </header>
      <Stage key={place} board={board} brush={brush} />
      <Tools board={board} brush={brush} choose={setBrush} />
    </div>
  );
}

function Faces({ board }: { board: Board }) {
  const people = usePeople(board);
  const names = people.map(({ name, me }) => (me ? `${name} (you)` : name)).join(", ");
  return (
    <span className="faces" role="img" aria-label={`Here now: ${names}`} title={names}>
      {people.slice(0, 4).map(({ session, name }) => (
        <Avatar key={session} name={name} />
      ))}
      {people.length > 4 && <span className="more">+{people.length - 4}</span>}
    </span>
  );
}
