import { expect, test } from "vitest";
import { onlineShare, presenceBands } from "../src/screens/runners/presence_bands.ts";

const entry = (seconds: number, name: string) => ({ at: new Date(seconds * 1000).toISOString(), events: [{ name }] });

const HISTORY = [
  entry(100, "RunnerOnline"),
  entry(60, "RunnerOffline"),
  entry(50, "RunnerEdited"),
  entry(20, "RunnerOnline"),
  entry(10, "RunnerRegistered"),
];

test("bands begin with the registration and end now", () => {
  const bands = presenceBands(HISTORY, 0, 120_000);
  expect(bands.map(({ start, end, isOnline }) => [start / 1000, end / 1000, isOnline])).toEqual([
    [10, 20, false],
    [20, 60, true],
    [60, 100, false],
    [100, 120, true],
  ]);
  expect(onlineShare(bands)).toBeCloseTo((100 * 60) / 110);
});

test("the band before the shown time is cut", () => {
  expect(presenceBands(HISTORY, 40_000, 70_000)).toEqual([
    { start: 40_000, end: 60_000, isOnline: true },
    { start: 60_000, end: 70_000, isOnline: false },
  ]);
});

test("of an unknown runner there is nothing to show", () => {
  expect(onlineShare(presenceBands([], 0, 1000))).toBeNull();
});
