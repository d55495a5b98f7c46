// Made by `zocket gen ts`; changes here are lost.

/** The actors of the app, by their name on the wire. */
export interface Actors {
  chat: ChatRoom;
  lobby: Lobby;
}

/** One room; its id is its name in the address bar. */
export interface ChatRoom {
  state: RoomState;
  methods: {
    /** Takes a name, or another one; also after `leave`. */
    join(input: {
      /**
       * @minLength 1
       * @maxLength 24
       */
      name: string;
    }): void;
    /** The page shows another room, but its connection stays. */
    leave(): void;
    post(input: {
      /**
       * @minLength 1
       * @maxLength 2000
       */
      text: string;
    }): Message;
    /** Tells the others that this person is typing; nothing of it is kept. */
    keystroke(): void;
  };
  events: {
    posted: Message;
    typing: Typing;
  };
  streams: {};
}

/** The list of rooms, one for all: `lobby/main`. */
export interface Lobby {
  state: LobbyState;
  methods: {
    /** Puts a room on the list; one that is there already stays where it is. */
    open(input: {
      /** @pattern ^[a-z0-9][a-z0-9-]{0,23}$ */
      room: string;
    }): void;
    /** Somebody wrote in `room`: pages that show another one mark it. */
    announce(input: {
      /** @pattern ^[a-z0-9][a-z0-9-]{0,23}$ */
      room: string;
    }): void;
  };
  events: {
    activity: Activity;
  };
  streams: {};
}

export interface Activity {
  room: string;
}

export interface LobbyState {
  /** @default ["general", "ideas", "random"] */
  rooms: string[];
}

export interface Message {
  id: number;
  session: string;
  author: string;
  text: string;
  sent_at_ms: number;
}

export interface Person {
  name: string;
}

export interface RoomState {
  /** @default [] */
  messages: Message[];
  /**
   * by session
   * @default {}
   */
  online: { [key: string]: Person };
  /** @default 0 */
  last_id: number;
}

export interface Typing {
  session: string;
  name: string;
}
