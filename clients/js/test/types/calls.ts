/** What compiles and what does not: an unneeded `@ts-expect-error` is itself an error. */

import { type Client, createClient, type Handle } from "zocket";

import type { Actors, ChatRoom, Message, RoomState } from "./actors.js";

/** Compiles only if the two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>): void => {};

const client = createClient<Actors>({ url: "ws://localhost:8000", token: async () => "t" });
const room = client.chat("general");

same<typeof room, Handle<ChatRoom>>(true);
same<ReturnType<typeof room.post>, Promise<Message>>(true);
same<ReturnType<typeof room.all>, Promise<Message[]>>(true);
same<ReturnType<typeof room.clear>, Promise<void>>(true);
same<Client<Actors>, typeof client>(true);

room.post({ text: "hi" });
room.post({ text: "hi" }, { timeoutMs: 1_000, idempotencyKey: true, signal: new AbortController().signal });
// @ts-expect-error the input is missing
room.post();
// @ts-expect-error a field is missing
room.post({});
// @ts-expect-error a field has another type
room.post({ text: 1 });
// @ts-expect-error there is no such field
room.post({ text: "hi", loud: true });
// @ts-expect-error there is no such option
room.post({ text: "hi" }, { retries: 3 });
// @ts-expect-error there is no such method
room.shout({ text: "hi" });

room.search();
room.search({ limit: 3 });
room.search(undefined, { timeoutMs: 1 });
// @ts-expect-error a field has another type
room.search({ limit: "3" });

room.all();
room.all(undefined, { timeoutMs: 1 });
// @ts-expect-error the method takes no input
room.all({ text: "hi" });

room.call("on", { light: true }).then((lamps) => same<typeof lamps, number>(true));
// @ts-expect-error a field has another type
room.call("on", { light: 1 });
// @ts-expect-error there is no such method
room.call("off");

room.on("posted", (message) => same<typeof message, Message>(true));
room.on("cleared", (payload) => same<typeof payload, null>(true));
// @ts-expect-error there is no such event
room.on("typed", () => {});
// @ts-expect-error the payload has another type
room.on("posted", (message: string) => {});

room.state.subscribe((state) => same<typeof state, RoomState>(true));
same<ReturnType<typeof room.state.getSnapshot>, RoomState | undefined>(true);

async function read(): Promise<void> {
  for await (const word of room.summarize.stream({ words: 3 })) same<typeof word, string>(true);
  for await (const tick of room.ticks.stream(undefined, { timeoutMs: 1 })) same<typeof tick, number>(true);
  // @ts-expect-error the input is missing
  room.summarize.stream();
  // @ts-expect-error a stream is not repeated
  room.summarize.stream({ words: 3 }, { idempotencyKey: true });
  // @ts-expect-error the method does not stream
  room.post.stream({ text: "hi" });
  // @ts-expect-error a stream is no call
  room.summarize({ words: 3 });
}

// @ts-expect-error there is no such actor
client.lobby("main");
// @ts-expect-error there is no such actor
client.actor("lobby", "main");
// @ts-expect-error an id is a string
client.chat(7);

// An actor whose name is taken by a member of the client.
same<typeof client.status, "connecting" | "open" | "reconnecting" | "closed">(true);
client.actor("status", "main").report().then((report) => same<typeof report, string>(true));

// Without a description everything goes.
const anything = createClient({ url: "ws://localhost:8000" });
anything.lobby("main").open({ room: 1 }).then((answer) => answer.whatever);
anything.lobby("main").on("anything", (payload) => payload.whatever);
anything.lobby("main").state.subscribe((state) => state.whatever);
anything.actor("lobby", "main").words.stream({});
anything.actor("lobby", "main").call("on", { light: true }, { timeoutMs: 1 });

// @ts-expect-error a description needs methods, state, events or streams of its actors
createClient<{ chat: string }>({ url: "ws://localhost:8000" });
// @ts-expect-error the address is missing
createClient<Actors>({});
