import { expect, test } from "vitest";
import type { Overview } from "../src/api/builds.ts";
import { buildAt, changeTimes } from "../src/screens/build/build_past.ts";

const at = (seconds: number) => new Date(seconds * 1000).toISOString();

function attempt(number: number, status: string, ...times: (number | null)[]) {
  const [queued_at, assigned_at, started_at, completed_at] = times.map((time) =>
    time === null ? null : at(time ?? 0),
  );
  return { number, status, queued_at, assigned_at, started_at, completed_at, steps: [{ start_at: started_at }] };
}

const base = { waiting_for: null, artifacts: [], when: "on_success" };
const build = {
  status: "FAILED",
  created_at: at(0),
  started_at: at(1),
  completed_at: at(20),
  jobs: [
    {
      ...base,
      name: "compile",
      status: "SUCCESS",
      attempt: 2,
      attempts: [attempt(1, "LOST", 1, 2, 3, 5), attempt(2, "SUCCESS", 6, 7, 8, 10)],
    },
    { ...base, name: "test", status: "FAILED", attempt: 1, attempts: [attempt(1, "FAILED", 10, 11, 12, 20)] },
    { ...base, name: "publish", when: "manual", status: "SKIPPED", attempt: 0, attempts: [] },
  ],
} as unknown as Overview;

test.each([
  [0, "QUEUED", ["CREATED", "CREATED", "MANUAL"]],
  [2.5, "RUNNING", ["ASSIGNED", "CREATED", "MANUAL"]],
  [5.5, "RUNNING", ["LOST", "CREATED", "MANUAL"]],
  [6.5, "RUNNING", ["QUEUED", "CREATED", "MANUAL"]],
  [12, "RUNNING", ["SUCCESS", "RUNNING", "MANUAL"]],
  [20, "FAILED", ["SUCCESS", "FAILED", "SKIPPED"]],
])("after %d seconds the build was %s", (seconds, status, jobs) => {
  const past = buildAt(build, seconds * 1000);
  expect([past.status, past.jobs.map((job) => job.status)]).toEqual([status, jobs]);
  expect(past.finished).toBe(seconds === 20);
});

test("steps and attempts that came later are not there", () => {
  const [compile] = buildAt(build, 7000).jobs;
  expect(compile?.attempts.map(({ number, steps }) => [number, steps.length])).toEqual([
    [1, 1],
    [2, 0],
  ]);
});

test("every change is a step of the slider, once", () => {
  expect(changeTimes(build).map((time) => time / 1000)).toEqual([0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 20]);
});
