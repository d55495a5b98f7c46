/** What both pages show: who somebody is, whether the page is live, what went wrong; in the look of the other examples. */

import { type CSSProperties, type ReactNode, useEffect, useSyncExternalStore } from "react";
import { useClient, useConnectionStatus } from "zocket/react";

import { hueOf, initials, inWords, placeFromHash, STATUS_TEXT, toast } from "../../chat/ui.js";

/** Whether the page is connected; a screen reader says every change. */
export function ConnectionBadge() {
  const status = useConnectionStatus();
  return (
    <span className="badge" role="status" data-status={status}>
      {STATUS_TEXT[status]}
    </span>
  );
}

/** A round sign with a person's initials. */
export function Avatar({ name }: { name: string }) {
  return (
    <span className="avatar" style={hueStyle(name)} title={name} aria-hidden="true">
      {initials(name)}
    </span>
  );
}

/** A person's colour, for the styles. */
export const hueStyle = (name: string): CSSProperties => ({ "--hue": hueOf(name) }) as CSSProperties;

/** A drawing of 20 × 20 in the colour of the text; whoever wears it says what it means. */
export function Icon({ path }: { path: string }): ReactNode {
  return (
    <svg viewBox="0 0 20 20" fill="none" stroke="currentColor" strokeWidth="1.8" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}

/** Failures that answer no call, such as a refused subscription, are said like those of calls. */
export function useSaidErrors(): void {
  const client = useClient();
  useEffect(() => {
    const off = client.onError((error) => toast(inWords(error)));
    return () => void off();
  }, [client]);
}

/** The name behind `#` in the address, as it changes; on a server `otherwise`. */
export function usePlace(otherwise: string): string {
  return useSyncExternalStore(
    onHashChange,
    () => placeFromHash(otherwise),
    () => otherwise,
  );
}

function onHashChange(changed: () => void): () => void {
  addEventListener("hashchange", changed);
  return () => removeEventListener("hashchange", changed);
}
