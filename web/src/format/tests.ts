/** Groups of tests, and their names and numbers. */
import type { ReportedTest, TestCounts, TestStatus } from "../api/tests.ts";
import { formatDuration } from "./time.ts";

export type TestGroup = "failed" | "skipped" | "passed";

export const STATUSES_OF_GROUP: Record<TestGroup, TestStatus[]> = {
  failed: ["failed", "error"],
  skipped: ["skipped"],
  passed: ["passed"],
};

/** The status of a job whose symbol and color stand for a result of a test. */
export const STATUS_OF_TEST: Record<TestStatus, string> = {
  failed: "FAILED",
  error: "FAILED",
  skipped: "SKIPPED",
  passed: "SUCCESS",
};

/** The groups that have tests, with their names and numbers. */
export function testGroups(counts: TestCounts): [TestGroup, string][] {
  const numbers: [TestGroup, string, number][] = [
    ["failed", "Failed", counts.failed + counts.errors],
    ["skipped", "Skipped", counts.skipped],
    ["passed", "Passed", counts.passed],
  ];
  return numbers.flatMap(([group, name, number]) =>
    number ? [[group, `${name} ${number.toLocaleString("en")}`]] : [],
  );
}

export function testName({ class_name, name }: Pick<ReportedTest, "class_name" | "name">): string {
  return class_name ? `${class_name}.${name}` : name;
}

/** `tests/cart.py:7`, without the line if the report has none; empty if it has no file. */
export function testPlace({ file, line }: Pick<ReportedTest, "file" | "line">): string {
  return file && line !== null ? `${file}:${line}` : file;
}

/** `15 ms`, `1.5 s`, and from 10 seconds the form of `formatDuration`. */
export function formatMilliseconds(milliseconds: number): string {
  if (milliseconds < 1000) return `${milliseconds} ms`;
  return milliseconds < 10_000 ? `${(milliseconds / 1000).toFixed(1)} s` : formatDuration(milliseconds / 1000);
}
