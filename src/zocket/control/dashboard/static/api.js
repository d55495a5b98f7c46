/**
 * The control plane's HTTP API (docs/control-api.md).
 *
 * Rules: every failure is an `ApiError` with a code and, where the server gave one, a request id; a signed-in page sends
 * its CSRF value with whatever changes something; a session that is over is told to whoever asked to know.
 */

/** What went wrong, as the server or the connection says it. */
export class ApiError extends Error {
  constructor(message, { code, status = 0, requestId = null, retryAfterS = null }) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.status = status;
    this.requestId = requestId;
    this.retryAfterS = retryAfterS;
  }
}

const MAX_PAGES = 20;
let csrf = null;
let onSignedOut = () => {};
let reading = new AbortController();

/** The value for X-Zocket-CSRF from now on. */
export function setCsrf(value) {
  csrf = value;
}

/** Who is told when the server no longer knows the session. */
export function whenSignedOut(listener) {
  onSignedOut = listener;
}

/** Gives up every read in progress, whose answer nobody wants any more. */
export function dropReads() {
  reading.abort();
  reading = new AbortController();
}

/** Sends a request and gives the answer's body. */
export async function request(method, path, { body, signal } = {}) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (method !== "GET" && csrf) headers["x-zocket-csrf"] = csrf;
  const ends = method === "GET" ? AbortSignal.any([reading.signal, ...(signal ? [signal] : [])]) : signal;
  let answer;
  let content;
  try {
    answer = await fetch(path, { method, headers, signal: ends, body: body === undefined ? undefined : JSON.stringify(body) });
    content = await readBody(answer);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The control plane cannot be reached. Check the connection and try again.", { code: "unreachable" });
  }
  if (answer.ok) return content;
  if (answer.status === 401 && csrf && !path.startsWith("/api/auth/login")) onSignedOut();
  throw new ApiError(content?.error ?? `The control plane answered ${answer.status}.`, {
    code: content?.code ?? `http_${answer.status}`,
    status: answer.status,
    requestId: content?.requestId ?? answer.headers.get("x-request-id"),
    retryAfterS: Number(answer.headers.get("retry-after")) || null,
  });
}

async function readBody(answer) {
  const text = await answer.text();
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

export const get = (path, options) => request("GET", path, options);
export const post = (path, body = {}, options) => request("POST", path, { body, ...options });
export const put = (path, body, options) => request("PUT", path, { body, ...options });
export const patch = (path, body, options) => request("PATCH", path, { body, ...options });
export const remove = (path, options) => request("DELETE", path, options);

/** One page of a list: `{items, next}`. */
export function page(path, { limit = 50, after = null, signal } = {}) {
  const query = new URLSearchParams({ limit });
  if (after) query.set("after", after);
  return get(`${path}${path.includes("?") ? "&" : "?"}${query}`, { signal });
}

/** A whole list that is short by nature (projects, members, tokens). */
export async function all(path, options) {
  const items = [];
  let after = null;
  for (let count = 0; count < MAX_PAGES; count += 1) {
    const part = await page(path, { ...options, limit: 200, after });
    items.push(...part.items);
    after = part.next;
    if (!after) break;
  }
  return items;
}

/** A path with its parts escaped: path`/api/projects/${id}`. */
export function path(strings, ...parts) {
  return strings.map((text, index) => text + (index < parts.length ? encodeURIComponent(parts[index]) : "")).join("");
}
