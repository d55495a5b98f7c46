/**
 * What a patch costs in a state of 10,000 elements: the client's `applyPatch`, which shares what did not change, against
 * a copy by `structuredClone` that is then changed in place. Both give a new state and leave the old one as it was.
 *
 *     node benchmarks/js/apply.mjs [--json]
 *
 * Both take turns in the same run, a round each; the figures are medians over the rounds. CPU is that of the process,
 * garbage collection included.
 */

import assert from "node:assert/strict";

import { applyPatch } from "../../src/zocket/dev/static/zocket.js";

const ELEMENTS = 10_000;
const ROUNDS = 11;
/** Patches of a round: enough for a CPU figure above the clock's resolution. */
const PATCHES = { shared: 400, cloned: 10 };

const message = (at) => ({ author: `user ${at % 50}`, text: `message number ${at}`, sentAtMs: at, likes: 0 });
const list = { messages: Array.from({ length: ELEMENTS }, (_, at) => message(at)), topic: "all" };
const map = { people: Object.fromEntries(list.messages.map((value, at) => [`id${at}`, value])), topic: "all" };

const CASES = {
  "change one element of an array": [list, (at) => [{ op: "replace", path: `/messages/${at}/likes`, value: at }]],
  "append to an array": [list, (at) => [{ op: "add", path: `/messages/${ELEMENTS}`, value: message(at) }]],
  "change one value of an object": [map, (at) => [{ op: "replace", path: `/people/id${at}/likes`, value: at }]],
};

/** The one operation of a patch, done in place on a copy. */
function cloned(state, [{ path, value }]) {
  const copy = structuredClone(state);
  const keys = path.slice(1).split("/");
  const last = keys.pop();
  keys.reduce((node, key) => node[key], copy)[last] = value;
  return copy;
}

const WAYS = { shared: applyPatch, cloned };

function measure(way, state, patchOf) {
  const count = PATCHES[way];
  const patches = Array.from({ length: count }, (_, at) => patchOf((at * 7919) % ELEMENTS));
  const latencies = [];
  const cpu = process.cpuUsage();
  for (const patch of patches) {
    const beganAt = performance.now();
    WAYS[way](state, patch);
    latencies.push((performance.now() - beganAt) * 1_000);
  }
  const { user, system } = process.cpuUsage(cpu);
  latencies.sort((a, b) => a - b);
  return { p50: latencies[count >> 1], p99: latencies[Math.floor(count * 0.99)], cpu: (user + system) / count };
}

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const results = {};

for (const [name, [state, patchOf]] of Object.entries(CASES)) {
  assert.deepEqual(applyPatch(state, patchOf(1)), cloned(state, patchOf(1)));
  const rounds = { shared: [], cloned: [] };
  for (let round = -2; round < ROUNDS; round += 1) {
    for (const way of Object.keys(WAYS)) {
      const measured = measure(way, state, patchOf);
      if (round >= 0) rounds[way].push(measured); // the first two warm up
    }
  }
  const figures = (way) =>
    Object.fromEntries(["p50", "p99", "cpu"].map((key) => [key, median(rounds[way].map((round) => round[key]))]));
  results[name] = { shared: figures("shared"), cloned: figures("cloned") };
}

if (process.argv.includes("--json")) {
  console.log(JSON.stringify(results, null, 2));
} else {
  console.log(`microseconds a patch, Node ${process.versions.node}; shared: p50, p99, CPU; cloned: the same; CPU ratio`);
  for (const [name, { shared, cloned }] of Object.entries(results)) {
    const row = [shared, cloned].flatMap(({ p50, p99, cpu }) => [p50, p99, cpu]).map((us) => us.toFixed(1).padStart(9));
    console.log(name.padEnd(34), ...row, `${(cloned.cpu / shared.cpu).toFixed(0)}x`.padStart(6));
  }
}
