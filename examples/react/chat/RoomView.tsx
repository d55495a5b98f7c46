/** One room on the screen: its head, its messages, the field to write in, its people. */

import { useState } from "react";
import { useActorState, useClient } from "zocket/react";

import { inWords, toast } from "../../chat/ui.js";
import { Avatar, ConnectionBadge, Icon } from "../shared/ui.tsx";
import type { Drawer } from "./Chat.tsx";
import { Composer } from "./Composer.tsx";
import { type Room, useActor, useOwnSessions, usePresence, useTyping } from "./hooks.ts";
import { EmptyRoom, Messages, useEnd } from "./Messages.tsx";

interface Props {
  id: string;
  name: string | undefined;
  /** Whether something is unread in another room. */
  elsewhere: boolean;
  drawer: Drawer | undefined;
  open: (drawer: Drawer) => void;
  posted: () => void;
}

export function RoomView({ id, name, elsewhere, drawer, open, posted }: Props) {
  const client = useClient();
  const room = useActor("chat", id);
  const messages = useActorState(room, (state) => state.messages);
  const own = useOwnSessions();
  const last = messages?.at(-1);
  const end = useEnd(last, last !== undefined && own.includes(last.session));
  const [waiting, setWaiting] = useState<readonly { text: string }[]>([]);
  usePresence(room, name);

  /** Whether it was posted; if not, the person has been told why. */
  async function post(text: string): Promise<boolean> {
    const call = { text };
    setWaiting((before) => [...before, call]);
    try {
      // The next connection is known as a guest until it has joined.
      if (client.status !== "open" && name !== undefined) await room.join({ name });
      await room.post({ text });
      posted();
      return true;
    } catch (error) {
      toast(inWords(error));
      return false;
    } finally {
      setWaiting((before) => before.filter((other) => other !== call));
    }
  }

  return (
    <>
      <main className="room">
        <header className="top">
          <button
            className="button quiet icon only-narrow"
            aria-controls="sidebar"
            aria-expanded={drawer === "sidebar"}
            aria-label={elsewhere ? "Rooms, with new messages" : "Rooms"}
            onClick={() => open("sidebar")}
          >
            <Icon path="M3.5 6h13M3.5 10h13M3.5 14h8" />
            {elsewhere && <span className="dot" />}
          </button>
          <h1>
            <span aria-hidden="true">#</span>
            <span>{id}</span>
          </h1>
          <ConnectionBadge />
          <Faces room={room} expanded={drawer === "people"} open={() => open("people")} />
        </header>
        <div className="log" tabIndex={0} role="log" aria-label="Messages" ref={end.log} onScroll={end.scrolled}>
          {messages?.length === 0 && <EmptyRoom />}
          {messages !== undefined && messages.length > 0 && <Messages messages={messages} own={own} />}
          <ol id="waiting" aria-label="On its way">
            {waiting.map(({ text }, at) => (
              <li key={at} className="waiting">
                {text}
              </li>
            ))}
          </ol>
        </div>
        <div className="bottom">
          {end.behind && (
            <button className="button newer" onClick={end.follow}>
              New messages ↓
            </button>
          )}
          <Typing room={room} />
          <Composer id={id} room={room} post={post} />
        </div>
      </main>
      <People room={room} />
    </>
  );
}

function Typing({ room }: { room: Room }) {
  const names = useTyping(room);
  const who = names.length > 2 ? "Several people are" : `${names.join(" and ")} ${names.length > 1 ? "are" : "is"}`;
  return (
    <p className="typing" aria-live="polite">
      {names.length > 0 && (
        <>
          <span className="dots" aria-hidden="true">
            <i />
            <i />
            <i />
          </span>
          {who} typing…
        </>
      )}
    </p>
  );
}

/** Oneself first, then the others by name. */
function usePeople(room: Room): { session: string; name: string; me: boolean }[] {
  const { id } = useClient();
  const online = useActorState(room, (state) => state.online) ?? {};
  return Object.entries(online)
    .map(([session, { name }]) => ({ session, name, me: session === id }))
    .sort((a, b) => Number(b.me) - Number(a.me) || a.name.localeCompare(b.name));
}

function Faces({ room, expanded, open }: { room: Room; expanded: boolean; open: () => void }) {
  const people = usePeople(room);
  return (
    <button
      className="faces"
      aria-controls="people"
      aria-expanded={expanded}
      aria-label={`Who is online: ${people.length}`}
      onClick={open}
    >
      {people.slice(0, 3).map(({ session, name }) => (
        <Avatar key={session} name={name} />
      ))}
      {people.length > 3 && <span className="more">+{people.length - 3}</span>}
    </button>
  );
}

function People({ room }: { room: Room }) {
  const people = usePeople(room);
  return (
    <aside className="people" id="people" aria-labelledby="people-title">
      <h2 className="label" id="people-title">
        Online {people.length}
      </h2>
      <ul>
        {people.map(({ session, name, me }) => (
          <li key={session}>
            <Avatar name={name} />
            <span className="name">{name}</span>
            {me && <span className="you">you</span>}
          </li>
        ))}
      </ul>
    </aside>
  );
}
