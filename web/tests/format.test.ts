import { describe, expect, test } from "vitest";
import { formatMilliseconds, testGroups, testName, testPlace } from "../src/format/tests.ts";
import { formatBytes, formatRef, plural } from "../src/format/text.ts";
import { formatDuration, formatRelative, secondsBetween } from "../src/format/time.ts";
import { axisTicks } from "../src/screens/build/time_axis.ts";

test.each([
  [0, "0 s"],
  [0.4, "0.4 s"],
  [59.4, "59 s"],
  [72, "1 m 12 s"],
  [120, "2 m"],
  [7500, "2 h 5 m"],
  [273600, "3 d 4 h"],
])("%d seconds are %s", (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

describe("relative times", () => {
  const now = Date.parse("2026-06-15T12:00:00Z");
  test.each([
    [5, "just now"],
    [60, "1 minute ago"],
    [7200, "2 hours ago"],
    [172800, "2 days ago"],
    [-3600, "in 1 hour"],
  ])("%d seconds before now is %s", (seconds, text) => {
    expect(formatRelative(new Date(now - seconds * 1000).toISOString(), now)).toBe(text);
  });
});

test("an open end is now", () => {
  expect(secondsBetween("2026-01-01T00:00:00Z", null, Date.parse("2026-01-01T00:01:00Z"))).toBe(60);
  expect(secondsBetween(null, null)).toBeNull();
});

test("sizes, refs and counts", () => {
  expect([formatBytes(12), formatBytes(2_400_123)]).toEqual(["12 B", "2.3 MB"]);
  expect([formatRef("refs/heads/main"), formatRef("refs/tags/v1"), formatRef(null)]).toEqual(["main", "tag v1", ""]);
  const heads = ["refs/pull/7/head", "refs/merge-requests/8/head", "refs/heads/refs/pull/7/head"];
  expect(heads.map(formatRef)).toEqual(["pull request 7", "merge request 8", "refs/pull/7/head"]);
  expect([plural(1, "line"), plural(12345, "line")]).toEqual(["1 line", "12,345 lines"]);
});

test("a time axis has few ticks, and none at its end", () => {
  expect(axisTicks(50)).toEqual([10, 20, 30, 40]);
  expect(axisTicks(1_000_000).length).toBeLessThanOrEqual(12);
});

test("results of tests", () => {
  const counts = { total: 1204, passed: 1200, failed: 2, errors: 1, skipped: 0, duration_ms: 0, jobs: [] };
  expect(testGroups(counts)).toEqual([
    ["failed", "Failed 3"],
    ["passed", "Passed 1,200"],
  ]);
  expect([testName({ class_name: "a.b", name: "c" }), testName({ class_name: "", name: "c" })]).toEqual(["a.b.c", "c"]);
  expect([testPlace({ file: "a.py", line: 7 }), testPlace({ file: "", line: null })]).toEqual(["a.py:7", ""]);
  expect([15, 1200, 72_000].map(formatMilliseconds)).toEqual(["15 ms", "1.2 s", "1 m 12 s"]);
});
