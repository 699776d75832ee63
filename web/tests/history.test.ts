import { expect, test } from "vitest";
import contract from "../../contracts/asyncapi.json?raw";
import { binMoments, type Moment } from "../src/screens/history/axis.ts";
import { KINDS } from "../src/screens/history/kinds.ts";
import { diffStates, flatten, formatValue } from "../src/screens/history/state_diff.ts";
import { entryTitle, entryTone, eventFacts, splitWords } from "../src/screens/history/story.ts";

test("a diff has only the fields that differ", () => {
  const before = { name: "shop", tags: ["a"], limits: { cpu: 1 }, old: true };
  const after = { name: "store", tags: ["a"], limits: { cpu: 1 }, added: null };
  expect(diffStates(before, after)).toEqual([
    { field: "name", before: "shop", after: "store" },
    { field: "added", before: undefined, after: null },
    { field: "old", before: true, after: undefined },
  ]);
});

test("a deleted thing differs in every field", () => {
  expect(diffStates({ name: "shop", id: 1 }, null).map(({ field }) => field)).toEqual(["name", "id"]);
});

test("the order of a list matters, the order of fields does not", () => {
  expect(diffStates({ list: [1, 2], object: { a: 1, b: 2 } }, { list: [2, 1], object: { b: 2, a: 1 } })).toHaveLength(
    1,
  );
});

test("fields of objects are compared one by one", () => {
  expect(flatten({ id: 1, project: { name: "shop", owner: { id: 2 } }, list: [1], nothing: {} })).toEqual({
    id: 1,
    "project.name": "shop",
    "project.owner.id": 2,
    list: [1],
    nothing: {},
  });
});

test("values are shown as words", () => {
  const values = [undefined, null, "", false, [], ["main", "release/*"], 0, [{ a: 1 }]];
  const words = ["not there", "none", "empty", "no", "none", "main, release/*", "0", '[\n {\n  "a": 1\n }\n]'];
  expect(values.map(formatValue)).toEqual(words);
});

function moment(version: number, second: number, tone = "running"): Moment {
  return { version, at: new Date(second * 1000).toISOString(), tone };
}

test("moments that lie close together share a tick", () => {
  const moments = [moment(1, 0, "success"), moment(2, 99), moment(3, 99.5, "failure"), moment(4, 100)];
  expect(binMoments(moments, 10)).toEqual([
    { position: 0.05, first: 1, last: 1, count: 1, tones: ["success"] },
    { position: 0.95, first: 2, last: 4, count: 3, tones: ["running", "failure"] },
  ]);
});

test("moments at one time are in the middle of the axis", () => {
  expect(binMoments([moment(1, 5), moment(2, 5)], 10)).toMatchObject([{ position: 0.55, count: 2 }]);
  expect(binMoments([], 10)).toEqual([]);
});

test("a thousand entries need no more ticks than there are bins", () => {
  const moments = Array.from({ length: 1000 }, (_, i) => moment(i + 1, i));
  const ticks = binMoments(moments, 160);
  expect(ticks).toHaveLength(160);
  expect(ticks.reduce((sum, { count }) => sum + count, 0)).toBe(1000);
});

test("an event that stands for many changes is named by its command", () => {
  expect(entryTitle("RenameProject", ["ProjectSettingsChanged"])).toBe("Rename project");
  expect(entryTitle("ReportJob", ["JobStarted", "JobStarted"])).toBe("Job started");
  expect(splitWords("SSHKeyAdded")).toBe("SSH key added".replace("SSH", "Ssh"));
});

test("the tone tells how an entry ended", () => {
  expect(entryTone(["BuildQueued"])).toBe("success");
  expect(entryTone(["JobFailed", "RunnerLost"])).toBe("failure");
  expect(entryTone(["SecretDeleted"])).toBe("neutral");
  expect(entryTone(["ProjectSettingsChanged"])).toBe("running");
});

test("facts of an event leave out what it says nothing about", () => {
  const data = { project_id: 1, name: "", executor_id: 0, developers_id: [], visibility: "private" };
  expect(eventFacts(data)).toEqual([
    ["project_id", 1],
    ["visibility", "private"],
  ]);
});

test("each type of object that records events can be looked up", () => {
  const streams = contract.matchAll(/"description": "`(\w+)-</g);
  expect(Object.keys(KINDS).sort()).toEqual([...new Set([...streams].map(([, kind]) => kind))].sort());
});
