/**
 * Which page an address is, and moving between them without loading anything.
 *
 * Rules: a page gets a signal that ends when it is left; the browser's own buttons and opening in a new tab work; after a
 * move the focus is on the new page's heading, or stays on the tab that was pressed.
 */

const APP_NAME = "Zocket";

export class Router {
  #routes;
  #area;
  #leaving = new AbortController();
  #onMoved;

  /**
   * @param routes pairs of a pattern such as "/projects/:project" and a page.
   * @param area gives the element that pages are drawn into.
   * @param onMoved called after each move.
   */
  constructor(routes, area, onMoved) {
    this.#routes = routes.map(([pattern, page]) => [compiled(pattern), page]);
    this.#area = area;
    this.#onMoved = onMoved;
    document.addEventListener("click", (event) => this.#clicked(event));
    addEventListener("popstate", () => this.show());
  }

  /** Moves to an address of this site. */
  go(address, { replace = false } = {}) {
    if (replace) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    this.show();
    scrollTo(0, 0);
  }

  /** Ends what the current page reads and follows; what is drawn stays. */
  leave() {
    this.#leaving.abort();
    this.#leaving = new AbortController();
  }

  /** Draws the page of the current address. */
  show({ isFirst = false } = {}) {
    const pressed = document.activeElement?.closest?.(".tabs a")?.getAttribute("href");
    this.leave();
    const [page, params] = this.#find(location.pathname);
    const area = this.#area();
    area.replaceChildren();
    page({
      area,
      params,
      query: new URLSearchParams(location.search),
      signal: this.#leaving.signal,
      go: (address, options) => this.go(address, options),
      title: (text) => {
        document.title = text ? `${text} · ${APP_NAME}` : APP_NAME;
      },
    });
    this.#onMoved();
    if (!isFirst) focusOn(area, pressed);
  }

  #find(path) {
    for (const [pattern, page] of this.#routes) {
      const match = pattern.exec(path);
      if (match) return [page, match.groups ?? {}];
    }
    throw new Error(`no page for ${path}`); // the last pattern takes everything
  }

  #clicked(event) {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target.closest?.("a[href]");
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (link.pathname.startsWith("/api/") || link.hash) return;
    event.preventDefault();
    this.go(link.pathname + link.search);
  }
}

function compiled(pattern) {
  const source = pattern.replaceAll("*", ".*").replace(/\/:(\w+)\?/g, "(?:/(?<$1>[^/]+))?").replace(/:(\w+)/g, "(?<$1>[^/]+)");
  return new RegExp(`^${source}/?$`);
}

function focusOn(area, pressed) {
  if (area.contains(document.activeElement) && document.activeElement !== area) return; // the page has chosen
  const again = pressed && area.querySelector(`.tabs a[href="${CSS.escape(pressed)}"]`);
  const heading = area.querySelector("h1");
  if (again) {
    again.focus();
  } else if (heading) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
}
