/** The board itself: the strokes of the state on one canvas, the stroke under the pen on another, cursors above. */

import { type CSSProperties, type PointerEvent, useEffect, useLayoutEffect, useRef, useState } from "react";
import { useActorState, useConnectionStatus, useEvent } from "zocket/react";

import { BOARD_HEIGHT, BOARD_WIDTH, Canvas, Drawing, heightOf, onBoard, widthWithin } from "../../draw/canvas.js";
import { Pen } from "../../draw/pen.js";
import { inWords, toast } from "../../draw/ui.js";
import { hueStyle } from "../shared/ui.tsx";
import type { Cursor } from "./actors.ts";
import { type Board, type Brush, usePeople } from "./hooks.ts";

/** The others see the pen move this often at most. */
const CURSOR_EVERY_MS = 60;
/** A cursor that stands still fades after this time. */
const CURSOR_SHOWN_MS = 4_000;
/** Of the board's frame, both sides together. */
const FRAME_PX = 2;

export function Stage({ board, brush }: { board: Board; brush: Brush }) {
  const status = useConnectionStatus();
  const strokes = useActorState(board, (state) => state.strokes);
  const [penIsDown, setPenIsDown] = useState(false);
  const stage = useRef<HTMLElement>(null);
  const ink = useRef<HTMLCanvasElement>(null);
  const mine = useRef<HTMLCanvasElement>(null);
  const layers = useRef<{ drawing: Drawing; pen: Pen<Brush> }>(null);
  const lastCursorMs = useRef(0);
  const width = useWidth(stage);

  useLayoutEffect(() => {
    layers.current = {
      drawing: new Drawing(new Canvas(ink.current!)),
      pen: new Pen<Brush>(
        new Canvas(mine.current!),
        (stroke, { color, size }, points, first) =>
          first ? board.begin({ stroke, color, size, points }) : board.extend({ stroke, points }),
        (error) => toast(inWords(error)),
      ),
    };
    return () => void layers.current?.pen.up();
  }, [board]);
  useLayoutEffect(() => {
    if (width === 0) return; // not measured yet
    layers.current?.drawing.resize(width - FRAME_PX);
    layers.current?.pen.resize(width - FRAME_PX);
  }, [width]);
  useLayoutEffect(() => layers.current?.drawing.show(strokes ?? {}), [strokes]);
  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => {
      layers.current?.drawing.redraw();
      layers.current?.pen.redraw();
    };
    dark.addEventListener("change", redraw);
    return () => dark.removeEventListener("change", redraw);
  }, []);

  function down(event: PointerEvent<HTMLDivElement>) {
    const pen = layers.current?.pen;
    if (pen === undefined || pen.isDown || event.button !== 0) return;
    event.preventDefault();
    event.currentTarget.setPointerCapture(event.pointerId);
    pen.down(brush, ...onBoard(event, event.currentTarget));
    setPenIsDown(true);
  }

  function move(event: PointerEvent<HTMLDivElement>) {
    const now = Date.now();
    if (now - lastCursorMs.current >= CURSOR_EVERY_MS && status === "open") {
      lastCursorMs.current = now;
      const [x, y] = onBoard(event, event.currentTarget);
      board.point({ x, y }).catch(() => {}); // the next one is better anyway
    }
    const steps = event.nativeEvent.getCoalescedEvents?.() ?? [];
    for (const step of steps.length > 0 ? steps : [event]) layers.current?.pen.to(...onBoard(step, event.currentTarget));
  }

  function up() {
    void layers.current?.pen.up();
    setPenIsDown(false);
  }

  const empty = strokes !== undefined && Object.keys(strokes).length === 0 && !penIsDown;
  return (
    <main className="stage" ref={stage}>
      <div
        className="board"
        id="board"
        style={{ width, height: heightOf(width) }}
        onPointerDown={down}
        onPointerMove={move}
        onPointerUp={up}
        onPointerCancel={up}
      >
        <canvas id="ink" ref={ink} role="img" aria-label="The shared drawing" />
        <canvas id="mine" ref={mine} />
        <Cursors board={board} width={width} />
        {empty && <p className="empty">Draw something. Everybody with this address sees it while you do.</p>}
      </div>
    </main>
  );
}

/** How wide the board is: as large as its stage allows. */
function useWidth(stage: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const fit = () => {
      const { width, height } = stage.current!.getBoundingClientRect();
      setWidth(widthWithin(width, height));
    };
    fit();
    const observer = new ResizeObserver(fit);
    observer.observe(stage.current!);
    return () => observer.disconnect();
  }, [stage]);
  return width;
}

function Cursors({ board, width }: { board: Board; width: number }) {
  const people = usePeople(board);
  const [places, setPlaces] = useState<Readonly<Record<string, Cursor>>>({});
  useEvent(board, "cursor", (cursor) => setPlaces((before) => ({ ...before, [cursor.session]: cursor })));
  return (
    <div className="cursors" aria-hidden="true">
      {people.map(({ session, name }) => {
        const place = places[session];
        return place && <CursorOf key={session} name={name} place={place} width={width} />;
      })}
    </div>
  );
}

function CursorOf({ name, place, width }: { name: string; place: Cursor; width: number }) {
  const [still, setStill] = useState(false);
  useEffect(() => {
    setStill(false);
    const timer = setTimeout(() => setStill(true), CURSOR_SHOWN_MS);
    return () => clearTimeout(timer);
  }, [place]);
  const [x, y] = [(place.x / BOARD_WIDTH) * width, (place.y / BOARD_HEIGHT) * heightOf(width)];
  const style: CSSProperties = { ...hueStyle(name), transform: `translate(${x}px, ${y}px)`, opacity: still ? 0 : 1 };
  return (
    <div className={place.x > BOARD_WIDTH * 0.85 ? "cursor at-right" : "cursor"} style={style}>
      <span>{name}</span>
    </div>
  );
}
