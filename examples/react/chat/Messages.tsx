/** The messages of a room, by day and author, and the end of the log that the page follows. */

import { memo, useLayoutEffect, useRef, useState } from "react";

import { Avatar, hueStyle } from "../shared/ui.tsx";
import type { Message } from "./actors.ts";

/** Messages of one author in this time stand together under one head. */
const TOGETHER_MS = 5 * 60_000;
/** A log this near to its end, in pixels, is at its end. */
const NEAR_PX = 80;

const clockTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayName = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

export function Messages({ messages, own }: { messages: readonly Message[]; own: readonly string[] }) {
  return (
    <ol className="messages">
      {messages.map((message, at) => {
        const before = messages[at - 1];
        const day = dayOf(message.sent_at_ms);
        const newDay = before === undefined || dayOf(before.sent_at_ms) !== day;
        return (
          <Row
            key={message.id}
            message={message}
            mine={own.includes(message.session)}
            day={newDay ? day : undefined}
            follows={!newDay && together(before, message)}
          />
        );
      })}
    </ol>
  );
}

interface RowProps {
  message: Message;
  mine: boolean;
  /** The head of a new day, which stands before this message. */
  day: string | undefined;
  follows: boolean;
}

/** Renders once: a patched state has the same object for every message that was there. */
const Row = memo(function Row({ message, mine, day, follows }: RowProps) {
  const { author, text } = message;
  return (
    <>
      {day !== undefined && <li className="day">{day}</li>}
      {follows ? (
        <li className="message following">
          <Time ms={message.sent_at_ms} />
          <p className="text">{text}</p>
        </li>
      ) : (
        <li className="message" style={hueStyle(author)}>
          <Avatar name={author} />
          <div>
            <div className="head">
              <span className="author">{author}</span>
              {mine && <span className="you">you</span>}
              <Time ms={message.sent_at_ms} />
            </div>
            <p className="text">{text}</p>
          </div>
        </li>
      )}
    </>
  );
});

function Time({ ms }: { ms: number }) {
  const date = new Date(ms);
  return (
    <time dateTime={date.toISOString()} title={date.toLocaleString()}>
      {clockTime.format(date)}
    </time>
  );
}

export function EmptyRoom() {
  return (
    <div className="empty">
      <svg viewBox="0 0 64 64" fill="none" stroke="currentColor" strokeWidth="2.5" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
        <path d="M12 16h32a6 6 0 0 1 6 6v16a6 6 0 0 1-6 6H28L17 53v-9h-5a6 6 0 0 1-6-6V22a6 6 0 0 1 6-6z" />
        <path d="M18 27h20M18 34h12" />
      </svg>
      <p className="empty-title">Nobody has written here yet</p>
      <p>Say the first word. Open this page in a second window to see it arrive.</p>
    </div>
  );
}

/** The end of the log: followed while it is in sight, and for one's own messages. */
export function useEnd(last: Message | undefined, mine: boolean) {
  const log = useRef<HTMLDivElement>(null);
  const inSight = useRef(true);
  const [behind, setBehind] = useState(false);
  function follow() {
    if (log.current !== null) log.current.scrollTop = log.current.scrollHeight;
    setBehind(false);
  }
  function scrolled() {
    if (log.current === null) return;
    const { scrollHeight, scrollTop, clientHeight } = log.current;
    inSight.current = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    if (inSight.current) setBehind(false);
  }
  useLayoutEffect(() => {
    if (last === undefined) return;
    if (inSight.current || mine) follow();
    else setBehind(true);
  }, [last, mine]);
  return { log, behind, follow, scrolled };
}

function together(before: Message, message: Message): boolean {
  return (
    before.session === message.session &&
    before.author === message.author &&
    message.sent_at_ms - before.sent_at_ms < TOGETHER_MS
  );
}

function dayOf(ms: number): string {
  const date = new Date(ms);
  return date.toDateString() === new Date().toDateString() ? "Today" : dayName.format(date);
}
