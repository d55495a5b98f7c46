/** How states, times and numbers are said. */

const DEPLOYMENT = {
  stored: { text: "Stored", tone: "busy", note: "The bundle has arrived." },
  starting: { text: "Starting", tone: "busy", note: "A new runtime loads it in standby." },
  smoke: { text: "Checking", tone: "busy", note: "The new runtime tries itself before it takes over." },
  active: { text: "Active", tone: "good", note: "It serves every call." },
  deployed: { text: "Active", tone: "good", note: "It serves every call." },
  failed: { text: "Failed", tone: "bad", note: "It never served a call." },
  superseded: { text: "Superseded", tone: "calm", note: "A newer deployment took over." },
  rolled_back: { text: "Rolled back", tone: "calm", note: "An earlier deployment was put back in its place." },
};

const PROJECT = {
  empty: { text: "Nothing deployed", tone: "calm" },
  deploying: { text: "Deploying", tone: "busy" },
  active: { text: "Active", tone: "good" },
  failed: { text: "Failed", tone: "bad" },
};

const RUNTIME = {
  starting: { text: "Starting", tone: "busy" },
  running: { text: "Running", tone: "good" },
  waiting: { text: "Waiting to restart", tone: "warn" },
  crash_loop: { text: "Crashing again and again", tone: "bad" },
  stopped: { text: "Not running", tone: "calm" },
  unknown: { text: "Run elsewhere", tone: "calm" },
};

export const IN_PROGRESS = ["stored", "starting", "smoke"];

export function deploymentWords(status) {
  return DEPLOYMENT[status] ?? { text: sentence(status), tone: "calm", note: "" };
}

export function projectWords(status) {
  return PROJECT[status] ?? { text: sentence(status), tone: "calm" };
}

export function runtimeWords(state) {
  return RUNTIME[state] ?? { text: sentence(state), tone: "calm" };
}

/** What its author said, in one line. */
export function messageOf(deployment) {
  return (deployment.message ?? "").split("\n")[0] || "No message";
}

export function sentence(text) {
  const words = String(text ?? "unknown").replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** "just now", "5 min ago", "yesterday 14:05", "3 Mar". */
export function ago(at, now = Date.now()) {
  const seconds = Math.round((now - at) / 1_000);
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ago`;
  if (seconds < 7 * 86_400) return `${Math.floor(seconds / 86_400)} d ago`;
  return new Date(at).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}

/** "in 3 d", for what is to come. */
export function until(at, now = Date.now()) {
  const seconds = Math.round((at - now) / 1_000);
  if (seconds <= 0) return "expired";
  if (seconds < 3_600) return `in ${Math.max(1, Math.floor(seconds / 60))} min`;
  if (seconds < 86_400) return `in ${Math.floor(seconds / 3_600)} h`;
  return `in ${Math.floor(seconds / 86_400)} d`;
}

export function exactly(at) {
  return new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** "4 d 3 h", of two units at most. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3_600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first === -1) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(" ");
}

export function bytes(count) {
  if (count < 1_024) return `${count} B`;
  if (count < 1_024 * 1_024) return `${(count / 1_024).toFixed(1)} KiB`;
  return `${(count / 1_024 / 1_024).toFixed(1)} MiB`;
}

/** A count as a tile shows it; a rate below ten keeps one decimal. */
export function count(value, { isRate = false } = {}) {
  if (value == null) return "–";
  if (isRate && value > 0 && value < 10) return value.toFixed(1);
  return Math.round(value).toLocaleString("en-US");
}
