/** Sums and series of the statistics. */
import type { Bucket, JobStatistics } from "../../api/statistics.ts";

export interface Totals {
  builds: number;
  succeeded: number;
  failed: number;
  killed: number;
  /** The share of successful builds, 0 to 1, without canceled ones. Null: no build succeeded or failed. */
  successRate: number | null;
}

export function sumBuckets(buckets: readonly Bucket[]): Totals {
  const sum = (name: "succeeded" | "failed" | "killed") => buckets.reduce((total, bucket) => total + bucket[name], 0);
  const [succeeded, failed, killed] = [sum("succeeded"), sum("failed"), sum("killed")];
  const ended = succeeded + failed;
  return { builds: ended + killed, succeeded, failed, killed, successRate: ended ? succeeded / ended : null };
}

/** Return one bucket for every day from the first to the last one. The data has only days with builds. */
export function fillDays(buckets: readonly Bucket[]): Bucket[] {
  const first = buckets[0];
  const last = buckets.at(-1);
  if (!first || !last) return [];
  const byDay = new Map(buckets.map((bucket) => [bucket.at.slice(0, 10), bucket]));
  const filled: Bucket[] = [];
  for (let time = startOf(first); time <= startOf(last); time += 86_400_000) {
    const at = new Date(time).toISOString().slice(0, 10);
    filled.push(byDay.get(at) ?? { ...EMPTY, at });
  }
  return filled;
}

const HALF_DAY = 43_200; // seconds

/** Return the range of an axis of days, in seconds. uPlot's own range for a single day is 1,000 days. */
export function daysRange(times: readonly number[]): [number, number] {
  const last = times.at(-1) ?? Date.now() / 1000;
  return [(times[0] ?? last) - HALF_DAY, last + HALF_DAY];
}

const EMPTY = {
  succeeded: 0,
  failed: 0,
  killed: 0,
  run_p50: null,
  run_p95: null,
  wait_p50: null,
  wait_p95: null,
};

function startOf({ at }: Bucket): number {
  return Date.parse(`${at.slice(0, 10)}T00:00:00Z`);
}

/** The first `count` jobs, sorted by how often they failed and then passed, then by duration. */
export function slowestAndFlakiest(jobs: readonly JobStatistics[], count: number): JobStatistics[] {
  return [...jobs].sort((one, other) => other.flaky - one.flaky || (other.p95 ?? 0) - (one.p95 ?? 0)).slice(0, count);
}
