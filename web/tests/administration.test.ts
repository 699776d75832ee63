import { expect, test } from "vitest";
import type { LiveEvent } from "../src/live/events.ts";
import { formatVariables, parseVariables } from "../src/screens/access/variables.ts";
import { isShown, MAX_EVENTS, withEvent } from "../src/screens/events/event_filter.ts";
import { isExpired, scopeSentence } from "../src/screens/people/scopes.ts";
import { daysRange, fillDays, slowestAndFlakiest, sumBuckets } from "../src/screens/statistics/totals.ts";
import { decisionStyle, remedy } from "../src/screens/webhooks/decision.ts";

test("variables survive the way through text", () => {
  const variables = { IMAGE: "alpine", OPTIONS: "a=b c=d", EMPTY: "" };
  expect(parseVariables(formatVariables(variables))).toEqual(variables);
});

test("a line that is not a variable is named", () => {
  expect(() => parseVariables("A=1\n\nno variable")).toThrow("no variable");
  expect(() => parseVariables("=1")).toThrow();
});

test("each scope has a description", () => {
  expect(scopeSentence([])).toBe("Everything its user may do");
  expect(scopeSentence(["PROJECT_READ", "BUILD_WRITE"])).toBe("projects: read; builds: launch, retry, cancel");
  expect(scopeSentence(["BUILD_READ", "TEAM_READ"])).toBe("builds: read; TEAM_READ");
});

test("a token is valid until the end of its last day in UTC", () => {
  const night = Date.parse("2026-11-30T23:59:00Z");
  expect([isExpired(null, night), isExpired("2026-11-30", night), isExpired("2026-11-29", night)]).toEqual([
    false,
    false,
    true,
  ]);
});

test("a refused delivery says what to do", () => {
  expect(decisionStyle({ decision: "REFUSED" }).word).toBe("Refused");
  expect(remedy({ code: "WEBHOOK_SIGNATURE_INVALID" })).toContain("secret");
  expect(remedy({ code: null })).toBe("");
});

function event(version: number, stream = "build-1"): LiveEvent {
  return { at: "", type: "BuildQueued", stream, version, actor: { id: 1, name: "dana" }, trace_id: null, data: {} };
}

test("events are filtered by kind and by text", () => {
  expect(isShown(event(1), { kind: "job", text: "" })).toBe(false);
  expect(isShown(event(1), { kind: "build", text: "DANA" })).toBe(true);
  expect(isShown(event(1), { kind: "", text: "mei" })).toBe(false);
});

test("the list of events is bounded and has each event once", () => {
  let events: LiveEvent[] = [];
  for (let version = 1; version <= MAX_EVENTS + 10; version += 1) events = withEvent(events, event(version));
  expect(events).toHaveLength(MAX_EVENTS);
  expect(events[0]?.version).toBe(MAX_EVENTS + 10);
  expect(withEvent(events, event(MAX_EVENTS))).toBe(events);
});

test("stored events of two services are listed by time", () => {
  const [first, second] = ["10:00", "11:00"].map((at, version) => ({ ...event(version), at }) as LiveEvent);
  if (!first || !second) throw new Error();
  expect(withEvent([second], first)).toEqual([second, first]);
  expect(withEvent([first], second)).toEqual([second, first]);
});

function bucket(at: string, succeeded: number, failed: number, killed = 0) {
  return { at, succeeded, failed, killed, run_p50: 1, run_p95: 2, wait_p50: 1, wait_p95: 2 };
}

test("canceled builds do not count as failures", () => {
  expect(sumBuckets([bucket("2026-11-01", 3, 1, 5)])).toMatchObject({ builds: 9, successRate: 0.75 });
  expect(sumBuckets([]).successRate).toBeNull();
});

test("days without builds are filled in, also over the change of daylight saving time", () => {
  const days = fillDays([bucket("2026-10-24", 1, 0), bucket("2026-10-27", 1, 0)]).map(({ at }) => at);
  expect(days).toEqual(["2026-10-24", "2026-10-25", "2026-10-26", "2026-10-27"]);
});

test("flaky jobs come before slow ones", () => {
  const job = (name: string, flaky: number, p95: number) => ({
    project_id: 1,
    name,
    runs: 9,
    failed: 1,
    flaky,
    p50: 1,
    p95,
  });
  expect(
    slowestAndFlakiest([job("slow", 0, 900), job("flaky", 2, 5), job("fast", 0, 1)], 2).map(({ name }) => name),
  ).toEqual(["flaky", "slow"]);
});

test("one day is shown as one day", () => {
  expect(daysRange([86_400])).toEqual([43_200, 129_600]);
  expect(daysRange([0, 86_400])).toEqual([-43_200, 129_600]);
});
