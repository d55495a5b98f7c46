/** The field to write in: Enter sends, and what could not be sent stays. */

import { useEffect, useLayoutEffect, useRef, useState } from "react";
import { useConnectionStatus } from "zocket/react";

import { Icon } from "../shared/ui.tsx";
import type { Room } from "./hooks.ts";

/** The others are told at most this often that somebody types. */
const KEYSTROKE_EVERY_MS = 2_000;

interface Props {
  id: string;
  room: Room;
  post: (text: string) => Promise<boolean>;
}

export function Composer({ id, room, post }: Props) {
  const status = useConnectionStatus();
  const [text, setText] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);
  const lastKeystrokeMs = useRef(0);

  useLayoutEffect(() => {
    const area = field.current;
    if (area === null) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }, [text]);
  useEffect(() => {
    if (matchMedia("(pointer: fine)").matches) field.current?.focus();
  }, []);

  function write(written: string) {
    setText(written);
    const now = Date.now();
    if (written.trim() === "" || status !== "open" || now - lastKeystrokeMs.current < KEYSTROKE_EVERY_MS) return;
    lastKeystrokeMs.current = now;
    room.keystroke().catch(() => {}); // worth nothing a second later
  }

  async function send() {
    const sent = text.trim();
    if (sent === "") return;
    setText("");
    lastKeystrokeMs.current = 0;
    if (!(await post(sent))) setText((written) => (written === "" ? sent : written));
  }

  return (
    <>
      <form
        className="composer"
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <textarea
          id="text"
          rows={1}
          maxLength={2000}
          aria-label="Message"
          aria-describedby="hint"
          placeholder={`Message #${id}`}
          ref={field}
          value={text}
          onChange={(event) => write(event.target.value)}
          onKeyDown={(event) => {
            // While an input method composes a word, Enter accepts the word.
            if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
            event.preventDefault();
            void send();
          }}
        />
        <button className="button primary icon" aria-label="Send" disabled={text.trim() === ""}>
          <Icon path="M10 16V4.5M5 9l5-5 5 5" />
        </button>
      </form>
      <p className="hint" id="hint">
        <kbd>Enter</kbd> sends, <kbd>Shift</kbd> <kbd>Enter</kbd> starts a new line, <kbd>Alt</kbd> <kbd>↑</kbd> <kbd>↓</kbd> change
        the room
      </p>
    </>
  );
}
