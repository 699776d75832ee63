import { expect, test, vi } from "vitest";
import { openEventStream, parseEvents, type ServerEvent } from "../src/live/event_stream.ts";

function parse(...parts: string[]): { events: ServerEvent[]; rest: string } {
  const events: ServerEvent[] = [];
  let rest = "";
  for (const part of parts) rest = parseEvents(rest + part, (event) => events.push(event));
  return { events, rest };
}

test("events have an id, a name and data; comments are skipped", () => {
  const { events } = parse(": connected\n\nid: b7\nevent: BuildQueued\ndata: {}\n\n");
  expect(events).toEqual([{ id: "b7", name: "BuildQueued", data: "{}" }]);
});

test("an event that arrives in pieces is read once it is complete", () => {
  const { events, rest } = parse("data: a", "b\n", "\ndata: next");
  expect(events.map(({ data }) => data)).toEqual(["ab"]);
  expect(rest).toBe("data: next");
});

test("several data lines are one text", () => {
  expect(parse("data: a\ndata: b\n\n").events[0]?.data).toBe("a\nb");
});

test("a position whose events are no longer stored is not asked for again", async () => {
  const positions: (string | undefined)[] = [];
  const answers = [
    new Response("id: b7\ndata: {}\n\n"),
    new Response("{}", { status: 410 }),
    new Response(": hello\n\n"),
  ];
  vi.stubGlobal("window", globalThis); // the tests run in Node.js, which lacks parts of a browser
  vi.stubGlobal("fetch", async (_url: string, { headers }: { headers: Record<string, string> }) => {
    positions.push(headers["Last-Event-ID"]);
    return answers.shift();
  });
  await new Promise<void>((resolve) => {
    const onClose = () => {
      if (positions.length === 3) resolve();
      return positions.length < 3;
    };
    openEventStream("/api/events", { onEvent() {}, onClose });
  });
  vi.unstubAllGlobals();
  expect(positions).toEqual([undefined, "b7", undefined]);
});
