/** The package `zocket`: everything but the hooks for React, which are `zocket/react`. */

export { type Client, type ClientMembers, connect, createClient } from "./client.js";
export type { ConnectionOptions, Status, WebSocketLike } from "./connection.js";
export { CallTimeout, Disconnected, type ErrorDetails, ZocketError } from "./errors.js";
export type { Off } from "./listeners.js";
export { gatewayUrl } from "./page.js";
export { applyPatch, type Operation } from "./patch.js";
export type { ClientOptions } from "./session.js";
export type * from "./types.js";
