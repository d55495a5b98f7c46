/**
 * What the dashboard knows, as the server said it last.
 *
 * Rules: nothing here is changed by a click; a click asks the server, and what comes back, or the event that follows,
 * changes it. An event only says that something is new: it is then read again, so there is one way into each value.
 */

import { all, get, page, path } from "./api.js";
import { Stream } from "./stream.js";

const HISTORY = 60;
const COALESCE_MS = 120;
/** Events of a runtime's state come about once a second; without them it is asked for this often. */
const STALE_MS = 4_000;

/** One value of the server, read when first wanted and whenever it may be old. */
export class Resource {
  #read;
  #listeners = new Set();
  #running = null;
  #again = false;
  #timer = null;

  constructor(read) {
    this.#read = read;
    this.value = undefined;
    this.error = null;
  }

  /** Calls `listener` after every reading, until `signal`; reads if nothing is known yet. */
  watch(listener, signal) {
    this.#listeners.add(listener);
    signal.addEventListener("abort", () => this.#listeners.delete(listener));
    if (this.value !== undefined || this.error) listener();
    this.refresh();
  }

  /** Whether somebody looks at it. */
  get watched() {
    return this.#listeners.size > 0;
  }

  /** Reads it soon; several wishes become one. */
  touch() {
    if (!this.watched) {
      this.value = undefined; // read again by whoever comes next
      return;
    }
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      if (this.watched) this.refresh();
    }, COALESCE_MS);
  }

  /** Reads it now; resolves when it was read after this call. */
  async refresh() {
    if (this.#running) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#readUntilCalm();
    try {
      await this.#running;
    } finally {
      this.#running = null;
    }
  }

  async #readUntilCalm() {
    do {
      this.#again = false;
      try {
        this.value = await this.#read(this.value);
        this.error = null;
      } catch (error) {
        if (error.name === "AbortError") return;
        this.error = error;
      }
      this.tell();
    } while (this.#again);
  }

  /** Tells everybody who watches. */
  tell() {
    for (const listener of [...this.#listeners]) listener();
  }
}

/** The runtime of one project: its newest state, and its counters over the last minute or so. */
class Status extends Resource {
  constructor(projectId) {
    super(async () => {
      const value = await get(path`/api/projects/${projectId}/status`);
      this.note(value);
      return value;
    });
    this.history = [];
    this.notedAt = 0;
  }

  /** Takes a state that came by itself. */
  note(value) {
    this.notedAt = performance.now();
    this.value = value;
    if (value.counters) this.history.push(value.counters);
    if (this.history.length > HISTORY) this.history.shift();
  }
}

class Store {
  constructor() {
    this.session = null;
    this.liveStatus = "connecting";
    this.clear();
  }

  /** Forgets everything, as at a sign-out. */
  clear() {
    this.ending?.abort();
    this.ending = null;
    this.projects = new Resource(() => all("/api/projects"));
    this.workspaces = new Resource(() => all("/api/workspaces"));
    this.perProject = { deployments: new Map(), status: new Map(), details: new Map() };
  }

  /** The newest deployments of a project; `more()` on the resource reads further pages. */
  deployments(projectId) {
    return kept(this.perProject.deployments, projectId, () => deploymentList(projectId));
  }

  deployment(deploymentId) {
    return kept(
      this.perProject.details,
      deploymentId,
      () => new Resource(() => get(path`/api/deployments/${deploymentId}`)),
    );
  }

  /** A deployment as it was read last. */
  newest(deployment) {
    const listed = this.perProject.deployments.get(deployment.projectId)?.value?.items ?? [];
    return (
      this.perProject.details.get(deployment.id)?.value ?? listed.find((one) => one.id === deployment.id) ?? deployment
    );
  }

  status(projectId) {
    return kept(this.perProject.status, projectId, () => new Status(projectId));
  }

  /** The project that an address names, by its slug or id; undefined while it is unknown. */
  project(named) {
    const found = (this.projects.value ?? []).filter((project) => project.slug === named || project.id === named);
    return found.find((project) => project.id === named) ?? (found.length === 1 ? found[0] : undefined);
  }

  /** One's role in a workspace. */
  role(workspaceId) {
    return (this.workspaces.value ?? []).find((workspace) => workspace.id === workspaceId)?.role ?? null;
  }

  /** How a project is named in an address. */
  slugOf(project) {
    const namesakes = (this.projects.value ?? []).filter((other) => other.slug === project.slug);
    return namesakes.length > 1 ? project.id : project.slug;
  }

  /** Follows the server's events until `clear`. */
  follow(onLiveStatus) {
    this.ending = new AbortController();
    const { signal } = this.ending;
    new Stream("/api/events", {
      signal,
      onStatus: (status) => {
        this.liveStatus = status;
        onLiveStatus(status);
      },
      onOpen: () => this.#touchAll(),
      listeners: {
        project: (about) => this.#deploymentChanged({ projectId: about?.id }),
        deployment: (about) => this.#deploymentChanged(about),
        status: (about) => this.#statusChanged(about),
        lagged: () => this.#touchAll(),
      },
    });
    const poll = setInterval(() => this.#poll(), STALE_MS);
    signal.addEventListener("abort", () => clearInterval(poll));
  }

  #touchAll() {
    this.projects.touch();
    this.workspaces.touch();
    for (const map of Object.values(this.perProject)) for (const resource of map.values()) resource.touch();
  }

  #deploymentChanged(about) {
    this.projects.touch();
    const { deployments, details, status } = this.perProject;
    const one = (map, id) => (id ? [map.get(id)].filter(Boolean) : [...map.values()]);
    for (const resource of one(deployments, about?.projectId)) resource.touch();
    for (const resource of one(status, about?.projectId)) resource.touch();
    for (const resource of details.values()) resource.touch();
  }

  #statusChanged(about) {
    const status = about && this.perProject.status.get(about.projectId);
    if (!status) return;
    if (!about.runtime) {
      status.touch();
      return;
    }
    status.note({ runtime: about.runtime, counters: about.counters ?? null });
    status.tell();
  }

  #poll() {
    if (document.hidden) return;
    for (const status of this.perProject.status.values()) {
      if (status.watched && performance.now() - status.notedAt > STALE_MS) status.refresh();
    }
  }
}

function kept(map, key, build) {
  if (!map.has(key)) map.set(key, build());
  return map.get(key);
}

function deploymentList(projectId) {
  let wanted = 1;
  const resource = new Resource(async () => {
    const items = [];
    let next = null;
    for (let count = 0; count < wanted; count += 1) {
      const part = await page(path`/api/projects/${projectId}/deployments`, { limit: 30, after: next });
      items.push(...part.items);
      next = part.next;
      if (!next) break;
    }
    return { items, next };
  });
  resource.more = () => {
    wanted += 1;
    return resource.refresh();
  };
  return resource;
}

export const store = new Store();
