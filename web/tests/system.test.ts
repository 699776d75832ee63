import { expect, test } from "vitest";
import type { Process, System } from "../src/api/system.ts";
import { layoutMap, serviceBox } from "../src/screens/system/map_layout.ts";
import { eventRates, NOTHING, remember } from "../src/screens/system/memory.ts";

function process(service: string, instance: string, changes: Partial<Process> = {}): Process {
  return {
    service,
    instance,
    version: "0.3.0",
    ready: true,
    reasons: [],
    leading: false,
    started_at: "2026-11-30T10:00:00Z",
    loop_lag_ms: 1,
    rss_bytes: 1,
    lags: {},
    ...changes,
  };
}

function system(processes: Process[], last_seq = 0): System {
  const stream = { name: "EVENTS", messages: 1, bytes: 1, first_seq: 1, last_seq, consumers: [] };
  const queue = { builds: 0, jobs: 2, oldest_seconds: null };
  return { at: "", processes, streams: [stream], queue, gateway: { event_readers: 0, long_polls: 0 } };
}

const START = Date.parse("2026-11-30T10:05:00Z");
const BOTH = [process("builds", "builds-0", { leading: true }), process("builds", "builds-1")];

test("a process that does not answer stays on the map and leads no longer", () => {
  const before = remember(NOTHING, system(BOTH), START);
  const after = remember(before, system(BOTH.slice(1)), START + 2000);
  expect(after.processes.map(({ instance, missingSince, leading }) => [instance, missingSince, leading])).toEqual([
    ["builds-0", START + 2000, false],
    ["builds-1", null, false],
  ]);
});

test("a process that answers again or is replaced is not missing", () => {
  const before = remember(remember(NOTHING, system(BOTH), START), system(BOTH.slice(1)), START + 2000);
  expect(
    remember(before, system(BOTH), START + 4000).processes.every(({ missingSince }) => missingSince === null),
  ).toBe(true);
  const replaced = [...BOTH.slice(1), process("builds", "builds-2")];
  expect(remember(before, system(replaced), START + 4000).processes).toHaveLength(2);
});

test("a missing process is forgotten after ten minutes", () => {
  const before = remember(remember(NOTHING, system(BOTH), START), system(BOTH.slice(1)), START + 2000);
  expect(remember(before, system(BOTH.slice(1)), START + 700_000).processes).toHaveLength(1);
});

test("rates are events a second, and never negative", () => {
  let memory = NOTHING;
  for (const [i, sequence] of [100, 110, 0].entries())
    memory = remember(memory, system(BOTH, sequence), START + i * 2000);
  expect(eventRates(memory.samples)).toEqual([5, 0]);
});

test("boxes of the map do not overlap", () => {
  const services = ["gateway", "builds", "identity", "notifications", "projects", "runners"];
  const processes = services.flatMap((service) =>
    [0, 1, 2].map((i) => ({ ...process(service, `${service}-${i}`), missingSince: null })),
  );
  const { boxes, height, width } = layoutMap(processes, system([]).streams, 40);
  const all = [...boxes.values()];
  expect(all).toHaveLength(5 + services.length);
  for (const one of all) {
    expect(one.y + one.height).toBeLessThanOrEqual(height);
    expect(one.x + one.width).toBeLessThanOrEqual(width);
    for (const other of all)
      if (one !== other && one.x === other.x)
        expect(one.y + one.height <= other.y || other.y + other.height <= one.y).toBe(true);
  }
});

test("every line joins two boxes", () => {
  const processes = [{ ...process("gateway", "gateway-0"), missingSince: null }];
  const { boxes, lines } = layoutMap(processes, [], 0);
  expect(boxes.has(serviceBox("gateway"))).toBe(true);
  for (const { from, to } of lines) expect(boxes.has(from) && boxes.has(to)).toBe(true);
});
