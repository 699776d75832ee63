import { describe, expect, test } from "vitest";
import { AnsiReader, lastState, NO_COLORS, plainText, stateAfter } from "../src/log/ansi.ts";
import { readLineHash } from "../src/log/line_hash.ts";
import { includes, planBatches } from "../src/log/log_batches.ts";
import { LogModel } from "../src/log/log_model.ts";
import { findMatches } from "../src/log/log_search.ts";

const ESCAPE = "\u001b";

function section(index: number, name = `section ${index}`) {
  return { index, name, lines: 0, start_at: null, closed_at: null, success: null, skipped: null, timed_out: false };
}

function model(...lines: string[][]): LogModel {
  const log = new LogModel();
  log.update(lines.map((_, index) => section(index)));
  for (const [index, texts] of lines.entries()) log.append({ section: index, from: 0, lines: texts, times: [] });
  return log;
}

describe("colors", () => {
  test("a plain line needs no segments", () => {
    expect(new AnsiReader().read("plain")).toBeNull();
  });

  test("a colored part becomes a segment with a class", () => {
    expect(
      new AnsiReader().read(`a ${ESCAPE}[1;31mred${ESCAPE}[0m b`)?.map(({ text, className }) => [text, className]),
    ).toEqual([
      ["a ", ""],
      ["red", "ansi-red ansi-bold"],
      [" b", ""],
    ]);
  });

  test("a color goes on to the next line until it is reset", () => {
    const reader = new AnsiReader();
    reader.read(`${ESCAPE}[32mgreen`);
    expect(reader.read("still green")?.[0]?.className).toBe("ansi-green");
    reader.read(`${ESCAPE}[0m`);
    expect(reader.read("plain")).toBeNull();
  });

  test("the colors at the end of a text are those after its last reset", () => {
    const state = stateAfter(`${ESCAPE}[31mred${ESCAPE}[0m ${ESCAPE}[1;32mgreen\nstill`, NO_COLORS);
    expect(state).toEqual({ foreground: "ansi-green", background: "", decorations: ["bold"] });
    expect(new AnsiReader(state).read("more")?.[0]?.className).toBe("ansi-green ansi-bold");
    expect(stateAfter(`plain ${ESCAPE}[m`, state)).toEqual(NO_COLORS);
  });

  test("HTML stays text", () => {
    expect(new AnsiReader().read(`${ESCAPE}[31m<img src=x>${ESCAPE}[0m`)?.[0]?.text).toBe("<img src=x>");
  });

  test("cursor movements and titles are removed", () => {
    expect(plainText(`${ESCAPE}]0;title\u0007${ESCAPE}[2Ka${ESCAPE}[1Gb`)).toBe("ab");
  });

  test("of a progress bar the last state is shown", () => {
    expect(lastState("10%\r50%\r100%")).toBe("100%");
    expect(lastState("done\r")).toBe("done");
    expect(lastState("plain")).toBe("plain");
  });
});

describe("lines", () => {
  test("numbers count over all sections", () => {
    const log = model(["a", "b"], ["c"]);
    expect([log.firstNumber(0), log.firstNumber(1), log.total]).toEqual([1, 3, 3]);
  });

  test("lines that arrive twice are added once", () => {
    const log = model(["a", "b"]);
    log.append({ section: 0, from: 1, lines: ["b", "c"], times: [] });
    expect(log.sections[0]?.blocks).toEqual([["a", "b", "c"]]);
  });

  test("lines after a gap are not added", () => {
    const log = model(["a"]);
    expect(log.append({ section: 0, from: 5, lines: ["f"], times: [] }).blocks).toEqual([]);
  });

  test("blocks of 100 lines arrive in any order", () => {
    const log = model([]);
    const lines = (count: number) => Array.from({ length: count }, (_, index) => `line ${index}`);
    expect(log.append({ section: 0, from: 200, lines: lines(120), times: [] }).blocks).toEqual([2, 3]);
    expect([log.total, log.received]).toEqual([320, 120]);
    expect(log.positionOf(201)).toEqual({ section: 0, from: 200 });
    expect(findMatches(log, "line 119").map(({ line }) => line)).toEqual([320]);
    expect(log.append({ section: 0, from: 0, lines: lines(200), times: [] }).blocks).toEqual([0, 1]);
    expect(log.received).toBe(320);
  });

  test("search finds colored text in any case", () => {
    const log = model(["nothing"], [`an ${ESCAPE}[31mERR${ESCAPE}[0mor and an error`]);
    expect(findMatches(log, "error")).toEqual([
      { line: 2, start: 3, end: 8 },
      { line: 2, start: 16, end: 21 },
    ]);
    expect(findMatches(log, "Error")).toEqual([]);
  });
});

describe("batches", () => {
  const sections = [section(0), { ...section(1), lines: 16_100 }, { ...section(2), lines: 200 }];

  test("each begins at a block and at the end of the one before", () => {
    const batches = planBatches(sections, { section: 1, from: 3000 });
    expect(batches.map(({ start, end, lines }) => [start.from, end?.from, lines])).toEqual([
      [3000, 8000, 5000],
      [8000, 13_000, 5000],
      [13_000, undefined, 3300],
    ]);
  });

  test("a log that is longer than its index says has a batch to its end", () => {
    expect(planBatches([section(0)], { section: 0, from: 3000 })).toEqual([
      { start: { section: 0, from: 3000 }, end: null, lines: 0 },
    ]);
  });

  test("the incomplete last line of a section belongs to the batch with the lines before it", () => {
    const [batch] = planBatches(
      [
        { ...section(0), lines: 5000 },
        { ...section(1), lines: 5000 },
      ],
      { section: 0, from: 0 },
    );
    expect(batch?.end).toEqual({ section: 1, from: 0 });
    expect(batch && includes(batch, { section: 0, from: 5000 })).toBe(true);
    expect(batch && includes(batch, { section: 1, from: 0 })).toBe(false);
  });
});

test("a hash names a line or a range of one job", () => {
  expect(readLineHash(4, "#job-4-L12")).toEqual({ first: 12, last: 12 });
  expect(readLineHash(4, "#job-4-L20-L12")).toEqual({ first: 12, last: 20 });
  expect(readLineHash(5, "#job-4-L12")).toBeNull();
});

test.each([
  ["38;5;9", { className: "ansi-bright-red" }],
  ["38;5;196", { color: "rgb(255, 0, 0)" }],
  ["48;2;1;2;3", { background: "rgb(1, 2, 3)" }],
  ["94;44", { className: "ansi-bright-blue ansi-blue-bg" }],
  ["1;31;22", { className: "ansi-red" }],
])("the parameters %s select a color", (parameters, expected) => {
  expect(new AnsiReader().read(`${ESCAPE}[${parameters}mtext`)?.[0]).toMatchObject(expected);
});
