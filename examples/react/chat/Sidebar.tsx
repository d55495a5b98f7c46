/** The list of rooms, a field for a new one, and the person's own name. */

import { type FormEvent, useEffect, useState } from "react";
import type { Handle } from "zocket";
import { useActorState, useConnectionStatus } from "zocket/react";

import { attempt, slug, toast } from "../../chat/ui.js";
import { Avatar, Icon } from "../shared/ui.tsx";
import type { Lobby } from "./actors.ts";

interface Props {
  lobby: Handle<Lobby>;
  id: string;
  unread: ReadonlySet<string>;
  name: string | undefined;
  rename: (name: string) => void;
}

export function Sidebar({ lobby, id, unread, name, rename }: Props) {
  return (
    <aside className="sidebar" id="sidebar" aria-label="Rooms and your name">
      <div className="brand">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="9" />
          <path d="M9 11h14l-10 10h10" />
        </svg>
        <span>Zocket chat</span>
      </div>
      <nav aria-labelledby="rooms-title">
        <h2 className="label" id="rooms-title">
          Rooms
        </h2>
        <Rooms lobby={lobby} id={id} unread={unread} />
        <NewRoom lobby={lobby} />
      </nav>
      {name !== undefined && <Me key={name} name={name} rename={rename} />}
    </aside>
  );
}

function Rooms({ lobby, id, unread }: Pick<Props, "lobby" | "id" | "unread">) {
  const status = useConnectionStatus();
  const listed = useActorState(lobby, ({ rooms }) => rooms);
  const missing = listed !== undefined && !listed.includes(id);
  const rooms = missing ? [...listed, id] : (listed ?? [id]);
  useEffect(() => {
    if (missing && status === "open") lobby.open({ room: id }).catch(() => {}); // the link leads there all the same
  }, [lobby, id, missing, status]);
  useEffect(() => {
    const step = (event: KeyboardEvent) => {
      if (!event.altKey || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
      event.preventDefault();
      const to = rooms.indexOf(id) + (event.key === "ArrowUp" ? -1 : 1);
      location.hash = rooms.at(to % rooms.length)!;
    };
    addEventListener("keydown", step);
    return () => removeEventListener("keydown", step);
  });
  return (
    <ul className="rooms">
      {rooms.map((room) => (
        <li key={room}>
          <a href={`#${room}`} className={unread.has(room) ? "unread" : undefined} aria-current={room === id ? "page" : undefined}>
            <span className="name">{room}</span>
            {unread.has(room) && (
              <span className="dot" title="New messages">
                <span className="sr-only">New messages</span>
              </span>
            )}
          </a>
        </li>
      ))}
    </ul>
  );
}

function NewRoom({ lobby }: Pick<Props, "lobby">) {
  const [wanted, setWanted] = useState("");
  async function create(event: FormEvent) {
    event.preventDefault();
    const room = slug(wanted);
    if (room === "") return toast("A room's name has letters or digits.");
    setWanted("");
    await attempt(lobby.open({ room }));
    location.hash = room;
  }
  return (
    <form className="new-room" onSubmit={create} autoComplete="off">
      <input
        className="field"
        maxLength={24}
        placeholder="New room"
        aria-label="Name of a new room"
        value={wanted}
        onChange={(event) => setWanted(event.target.value)}
      />
      <button className="button icon" aria-label="Create the room" title="Create the room">
        <Icon path="M10 4.5v11M4.5 10h11" />
      </button>
    </form>
  );
}

function Me({ name, rename }: { name: string; rename: Props["rename"] }) {
  const [written, setWritten] = useState(name);
  function accept() {
    const chosen = written.trim();
    if (chosen === "") setWritten(name);
    else rename(chosen);
  }
  return (
    <form
      className="me"
      autoComplete="off"
      onSubmit={(event) => {
        event.preventDefault();
        accept();
      }}
    >
      <Avatar name={name} />
      <label>
        <span className="label">Your name</span>
        <input
          maxLength={24}
          required
          spellCheck={false}
          value={written}
          onChange={(event) => setWritten(event.target.value)}
          onBlur={accept}
        />
      </label>
    </form>
  );
}
