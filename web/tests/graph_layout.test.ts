import { describe, expect, test } from "vitest";
import {
  findCriticalPath,
  findDependencies,
  layoutGraph,
  reduceTransitively,
} from "../src/screens/build/graph_layout.ts";

const START = Date.parse("2026-01-01T00:00:00Z");
const at = (seconds: number | null) => (seconds === null ? null : new Date(START + seconds * 1000).toISOString());

function job(
  name: string,
  stage: number,
  needs: string[] | null,
  start: number | null = null,
  end: number | null = null,
) {
  return { name, stage: `stage ${stage}`, stage_index: stage, needs, started_at: at(start), completed_at: at(end) };
}

describe("dependencies", () => {
  test("without needs a job waits for all jobs of earlier stages", () => {
    const jobs = [job("a", 0, null), job("b", 0, null), job("c", 1, null), job("d", 2, null)];
    expect(findDependencies(jobs).get("d")).toEqual(["a", "b", "c"]);
  });

  test("a dependency that follows from others is left out", () => {
    const dependencies = new Map([
      ["a", []],
      ["b", ["a"]],
      ["c", ["a", "b"]],
    ]);
    expect(reduceTransitively(dependencies).get("c")).toEqual(["b"]);
  });

  test("a need that is not in the build is ignored", () => {
    expect(findDependencies([job("a", 0, ["gone"])]).get("a")).toEqual([]);
  });
});

test("the critical path goes back from the last job along the latest dependency", () => {
  const jobs = [
    job("lint", 0, [], 0, 5),
    job("compile", 0, [], 0, 60),
    job("test", 1, ["lint", "compile"], 61, 90),
    job("docs", 1, ["lint"], 6, 20),
  ];
  expect(findCriticalPath(jobs, findDependencies(jobs))).toEqual(["compile", "test"]);
});

test("each job is right of all jobs that it needs, and no two jobs share a place", () => {
  const jobs = [job("a", 0, []), job("b", 0, []), job("c", 1, ["a", "b"]), job("d", 1, ["a"]), job("e", 2, ["c", "d"])];
  const { nodes, edges } = layoutGraph(jobs);
  const columns = new Map(nodes.map((node) => [node.job.name, node.column]));
  for (const { from, to } of edges) expect(columns.get(from)).toBeLessThan(columns.get(to) ?? -1);
  expect(new Set(nodes.map(({ column, row }) => `${column},${row}`)).size).toBe(jobs.length);
});
