/** Where a page finds its gateway. */

/** What the page's own server says (`url` in `/zocket-config.json`), otherwise the page's own origin. */
export async function gatewayUrl(): Promise<string> {
  const origin = globalThis.location.origin.replace(/^http/, "ws");
  try {
    const response = await fetch("/zocket-config.json", { cache: "no-store" });
    return response.ok ? ((await response.json()).url ?? origin) : origin;
  } catch {
    return origin; // a server that has no such file may answer with anything
  }
}
