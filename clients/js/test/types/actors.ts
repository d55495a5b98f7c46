/** A description of an app as `zocket gen ts` writes it. */

export interface Message {
  author: string;
  text: string;
}

export interface RoomState {
  messages: Message[];
  topic: string | null;
}

export interface ChatRoom {
  state: RoomState;
  methods: {
    post(input: { text: string }): Message;
    search(input?: { text?: string; limit?: number }): Message[];
    all(): Message[];
    clear(): void;
    on(input: { light: boolean }): number;
  };
  events: { posted: Message; cleared: null };
  streams: { summarize(input: { words: number }): string; ticks(): number };
}

export interface Status {
  state: null;
  methods: { report(): string };
  events: {};
  streams: {};
}

export interface Actors {
  chat: ChatRoom;
  status: Status;
}
