/** The whole page: rooms on the left, the room that the address names, its people on the right. */

import { type MouseEvent, useEffect, useState } from "react";
import { useEvent } from "zocket/react";

import { usePlace, useSaidErrors } from "../shared/ui.tsx";
import { useActor, useName } from "./hooks.ts";
import { RoomView } from "./RoomView.tsx";
import { Sidebar } from "./Sidebar.tsx";

/** On a narrow screen rooms and people are drawers; one of them may be open. */
export type Drawer = "sidebar" | "people";

export function Chat() {
  const id = usePlace("general");
  const lobby = useActor("lobby", "main");
  const [name, rename] = useName();
  const [unread, setUnread] = useState<ReadonlySet<string>>(new Set());
  const [drawer, setDrawer] = useState<Drawer>();
  useSaidErrors();
  useEvent(lobby, "activity", ({ room }) => {
    if (room !== id) setUnread((before) => new Set(before).add(room));
  });
  useEffect(() => {
    document.title = `#${id} · Zocket chat`;
    setUnread((before) => new Set([...before].filter((room) => room !== id)));
    setDrawer(undefined);
  }, [id]);
  useEffect(() => {
    const close = ({ key }: KeyboardEvent) => {
      if (key === "Escape") setDrawer(undefined);
    };
    addEventListener("keydown", close);
    return () => removeEventListener("keydown", close);
  }, []);
  useEffect(() => {
    if (drawer === undefined) return;
    const [panel, button] = [document.getElementById(drawer), document.querySelector<HTMLElement>(`[aria-controls="${drawer}"]`)];
    panel?.querySelector("a")?.focus();
    return () => {
      if (panel?.contains(document.activeElement)) button?.focus();
    };
  }, [drawer]);
  return (
    <div className={drawer === undefined ? "app" : `app open-${drawer}`}>
      <a className="skip" href="#text" onClick={skip}>
        Skip to the message field
      </a>
      <Sidebar lobby={lobby} id={id} unread={unread} name={name} rename={rename} />
      <RoomView
        key={id}
        id={id}
        name={name}
        elsewhere={unread.size > 0}
        drawer={drawer}
        open={setDrawer}
        posted={() => lobby.announce({ room: id }).catch(() => {})} // only a dot beside the room's name
      />
      <div className="veil" onClick={() => setDrawer(undefined)} />
    </div>
  );
}

function skip(event: MouseEvent) {
  event.preventDefault(); // what stands behind # in the address is the room
  document.getElementById("text")?.focus();
}
