// Made by `zocket gen ts`; changes here are lost.

/** The actors of the app, by their name on the wire. */
export interface Actors {
  board: Board;
}

/** One board; its id is its name in the address bar. */
export interface Board {
  state: BoardState;
  methods: {
    begin(input: {
      /** @pattern ^s[a-z0-9]{6,12}$ */
      stroke: string;
      color: "amber" | "blue" | "green" | "ink" | "paper" | "red" | "violet";
      size: 6 | 14 | 32;
      /**
       * @minItems 2
       * @maxItems 256
       */
      points: number[];
    }): void;
    /** Appends to a stroke; does nothing if it is gone, as after somebody cleared the board under the pen. */
    extend(input: {
      /** @pattern ^s[a-z0-9]{6,12}$ */
      stroke: string;
      /**
       * @minItems 2
       * @maxItems 256
       */
      points: number[];
    }): void;
    /** Takes the caller's newest stroke away; False if there is none. */
    undo(): boolean;
    clear(): void;
    /** Shows the others where this pen is; nothing of it is kept. */
    point(input: {
      /**
       * @minimum 0
       * @maximum 1440
       */
      x: number;
      /**
       * @minimum 0
       * @maximum 1440
       */
      y: number;
    }): void;
  };
  events: {
    cursor: Cursor;
  };
  streams: {};
}

export interface BoardState {
  /** @default {} */
  strokes: { [key: string]: Stroke };
  /**
   * by session
   * @default {}
   */
  people: { [key: string]: Person };
}

export interface Cursor {
  session: string;
  x: number;
  y: number;
}

export interface Person {
  name: string;
}

export interface Stroke {
  session: string;
  color: "ink" | "red" | "amber" | "green" | "blue" | "violet" | "paper";
  size: 6 | 14 | 32;
  chunks: number[][];
}
