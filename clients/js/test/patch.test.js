import assert from "node:assert/strict";
import test from "node:test";

import { applyPatch, ZocketError } from "../../../src/zocket/dev/static/zocket.js";

const refused = (document, ...operations) =>
  assert.throws(
    () => applyPatch(document, operations),
    (error) => error instanceof ZocketError && error.code === "bad_patch",
  );

/** name, document, operations, expected; the first groups are the examples of RFC 6902 appendix A */
const CASES = [
  ["A.1 adding an object member", { foo: "bar" }, [{ op: "add", path: "/baz", value: "qux" }], { baz: "qux", foo: "bar" }],
  ["A.2 adding an array element", { foo: ["bar", "baz"] }, [{ op: "add", path: "/foo/1", value: "qux" }], { foo: ["bar", "qux", "baz"] }],
  ["A.3 removing an object member", { baz: "qux", foo: "bar" }, [{ op: "remove", path: "/baz" }], { foo: "bar" }],
  ["A.4 removing an array element", { foo: [1, 2, 3] }, [{ op: "remove", path: "/foo/1" }], { foo: [1, 3] }],
  ["A.5 replacing a value", { a: 1, b: 2 }, [{ op: "replace", path: "/a", value: "x" }], { a: "x", b: 2 }],
  ["A.6 moving a value", { foo: { bar: "baz", waldo: "fred" }, qux: {} }, [{ op: "move", from: "/foo/waldo", path: "/qux/thud" }], { foo: { bar: "baz" }, qux: { thud: "fred" } }],
  ["A.7 moving an array element", { foo: ["all", "grass", "cows", "eat"] }, [{ op: "move", from: "/foo/1", path: "/foo/3" }], { foo: ["all", "cows", "eat", "grass"] }],
  ["A.8 testing a value", { baz: "qux", foo: ["a", 2, "c"] }, [{ op: "test", path: "/foo", value: ["a", 2, "c"] }], { baz: "qux", foo: ["a", 2, "c"] }],
  ["A.10 adding a nested object", { foo: "bar" }, [{ op: "add", path: "/child", value: { grandchild: {} } }], { foo: "bar", child: { grandchild: {} } }],
  ["A.11 ignoring unrecognized elements", { foo: "bar" }, [{ op: "add", path: "/baz", value: "qux", xyz: 1 }], { foo: "bar", baz: "qux" }],
  ["A.14 escaped keys", { "/": 9, "~1": 10 }, [{ op: "test", path: "/~01", value: 10 }, { op: "replace", path: "/~1", value: 8 }], { "/": 8, "~1": 10 }],
  ["A.16 adding an array value", { foo: ["bar"] }, [{ op: "add", path: "/foo/-", value: ["abc"] }], { foo: ["bar", ["abc"]] }],
  ["appending at the index past the end", [1, 2], [{ op: "add", path: "/2", value: 3 }], [1, 2, 3]],
  ["replacing the whole state", { a: 1 }, [{ op: "replace", path: "", value: [1] }], [1]],
  ["the empty key", { "": 1 }, [{ op: "replace", path: "/", value: 2 }], { "": 2 }],
  ["a key that looks like an index", { 1: "a" }, [{ op: "replace", path: "/1", value: "b" }], { 1: "b" }],
  ["several operations see each other", { a: [] }, [{ op: "add", path: "/a/0", value: { n: 1 } }, { op: "replace", path: "/a/0/n", value: 2 }], { a: [{ n: 2 }] }],
  ["copying", { a: { n: 1 } }, [{ op: "copy", from: "/a", path: "/b" }], { a: { n: 1 }, b: { n: 1 } }],
  ["moving onto itself", { a: 1 }, [{ op: "move", from: "/a", path: "/a" }], { a: 1 }],
  ["a text that grows", { a: ["t", { b: "one" }] }, [{ op: "append", path: "/a/1/b", value: " two" }, { op: "append", path: "/a/1/b", value: "" }], { a: ["t", { b: "one two" }] }],
  ["a text at the root that grows", "one", [{ op: "append", path: "", value: " two" }], "one two"],
  ["objects are equal in any order", { a: { x: 1, y: [null] } }, [{ op: "test", path: "/a", value: { y: [null], x: 1 } }], { a: { x: 1, y: [null] } }],
];

for (const [name, document, operations, expected] of CASES) {
  test(`applies: ${name}`, () => {
    const before = structuredClone(document);
    assert.deepEqual(applyPatch(document, operations), expected);
    assert.deepEqual(document, before, "the old document stays as it was");
  });
}

test("a patch shares what it does not touch and copies the way to what it does", () => {
  const before = { messages: [{ text: "a" }, { text: "b" }], online: { x: 1 } };
  const after = applyPatch(before, [{ op: "replace", path: "/messages/1/text", value: "c" }]);
  assert.notEqual(after, before);
  assert.notEqual(after.messages, before.messages);
  assert.notEqual(after.messages[1], before.messages[1]);
  assert.equal(after.messages[0], before.messages[0]);
  assert.equal(after.online, before.online);
});

test("a value of an operation is never written to", () => {
  const operations = [
    { op: "add", path: "/a", value: { n: 1 } },
    { op: "replace", path: "/a/n", value: 2 },
  ];
  assert.deepEqual(applyPatch({}, operations), { a: { n: 2 } });
  assert.deepEqual(operations[0].value, { n: 1 });
});

test("after a copy, writing to one place does not show in the other", () => {
  const after = applyPatch({ a: { n: 1 } }, [
    { op: "replace", path: "/a/n", value: 2 },
    { op: "copy", from: "/a", path: "/b" },
    { op: "replace", path: "/b/n", value: 3 },
    { op: "replace", path: "/a/n", value: 4 },
  ]);
  assert.deepEqual(after, { a: { n: 4 }, b: { n: 3 } });
});

test("a patch that fails in the middle leaves the document as it was", () => {
  const document = { a: { n: 1 } };
  refused(document, { op: "replace", path: "/a/n", value: 2 }, { op: "test", path: "/a/n", value: 9 });
  assert.deepEqual(document, { a: { n: 1 } });
});

test("operations that do not fit are refused", () => {
  refused({ foo: "bar" }, { op: "add", path: "/baz/bat", value: 1 });
  refused({ foo: [1] }, { op: "add", path: "/foo/2", value: 1 });
  refused({ foo: [1] }, { op: "replace", path: "/foo/1", value: 1 });
  refused({ foo: [1] }, { op: "replace", path: "/foo/-", value: 1 });
  refused({ foo: [1] }, { op: "add", path: "/foo/01", value: 1 });
  refused({ foo: [1] }, { op: "add", path: "/foo/length", value: 1 });
  refused({}, { op: "remove", path: "/foo" });
  refused({}, { op: "remove", path: "" });
  refused({}, { op: "replace", path: "/toString", value: 1 });
  refused({ a: { b: 1 } }, { op: "move", from: "/a", path: "/a/b/c" });
  refused({ a: 1 }, { op: "add", path: "/a/b", value: 1 });
  refused({ a: null }, { op: "replace", path: "/a/b", value: 1 });
  refused({}, { op: "add", path: "a", value: 1 });
  refused({}, { op: "append", path: "/a", value: "x" });
  refused({ a: 1 }, { op: "append", path: "/a", value: "x" });
  refused({ a: "t" }, { op: "append", path: "/a", value: 1 });
  refused({ a: "t" }, { op: "append", path: "/a" });
  refused({ a: "t" }, { op: "append", path: "/a/0", value: "x" });
  refused({ a: ["t"] }, { op: "append", path: "/a/-", value: "x" });
  refused({ a: ["t"] }, { op: "append", path: "/a", value: "x" });
  refused({}, { op: "grow", path: "/a", value: 1 });
  refused({}, { op: "add", value: 1 });
  refused({ a: [1] }, { op: "test", path: "/a", value: { 0: 1 } });
});

test("no patch reaches a prototype", () => {
  refused({}, { op: "add", path: "/__proto__", value: { polluted: true } });
  refused({}, { op: "add", path: "/__proto__/polluted", value: true });
  refused({}, { op: "add", path: "/constructor/prototype/polluted", value: true });
  assert.equal({}.polluted, undefined);
});

test("random edits end in the same document as a plain reading of RFC 6902", () => {
  let seed = 7;
  const random = (below) => (seed = (seed * 1103515245 + 12345) % 2147483648) % below;
  for (let round = 0; round < 200; round += 1) {
    const plain = { list: [0, { n: 0 }], map: { a: 1, b: { c: [] } } };
    const document = structuredClone(plain);
    const operations = [];
    for (let step = 0; step < 6; step += 1) {
      const at = random(plain.list.length + 1);
      const value = { n: random(100) };
      if (random(3) === 0 && at < plain.list.length) {
        operations.push({ op: "remove", path: `/list/${at}` });
        plain.list.splice(at, 1);
      } else if (random(2) === 0) {
        operations.push({ op: "add", path: `/list/${at}`, value });
        plain.list.splice(at, 0, structuredClone(value));
      } else {
        operations.push({ op: "add", path: `/map/b/k${at}`, value });
        plain.map.b[`k${at}`] = structuredClone(value);
      }
    }
    assert.deepEqual(applyPatch(document, operations), plain);
    assert.deepEqual(document, { list: [0, { n: 0 }], map: { a: 1, b: { c: [] } } });
  }
});
