/** The state of a build at an earlier time, derived from the times of its jobs' attempts. */
import type { Attempt, Overview, OverviewJob } from "../../api/builds.ts";

/** The times at which the build or one of its jobs changed, oldest first, without duplicates. */
export function changeTimes(build: Overview): number[] {
  const times = [build.created_at, build.started_at, build.completed_at];
  for (const { attempts } of build.jobs)
    for (const { queued_at, assigned_at, started_at, completed_at } of attempts)
      times.push(queued_at, assigned_at, started_at, completed_at);
  const known = times.flatMap((time) => (time ? [Date.parse(time)] : []));
  return [...new Set(known)].sort((one, other) => one - other);
}

/** Return the build as of a time, without fields whose changes have no recorded time, such as why it waits. */
export function buildAt(build: Overview, at: number): Overview {
  const past = (time: string | null) => (time !== null && Date.parse(time) <= at ? time : null);
  const completed_at = past(build.completed_at);
  const started_at = past(build.started_at);
  return {
    ...build,
    status: completed_at ? build.status : started_at ? "RUNNING" : "QUEUED",
    finished: completed_at !== null,
    started_at,
    completed_at,
    waiting_for: null,
    killed_by: completed_at ? build.killed_by : null,
    jobs: build.jobs.map((job) => jobAt(job, at, completed_at !== null)),
  };
}

function jobAt(job: OverviewJob, at: number, isBuildOver: boolean): OverviewJob {
  const attempts = job.attempts.flatMap((attempt) => attemptAt(attempt, at) ?? []);
  const artifacts = job.artifacts.filter(({ uploaded_at }) => Date.parse(uploaded_at ?? "") <= at);
  const last = attempts.at(-1);
  if (!last) {
    const notYet = job.when === "manual" ? "MANUAL" : "CREATED";
    const status = isBuildOver && job.attempts.length === 0 ? job.status : notYet;
    return { ...job, status, attempt: 0, attempts, artifacts, started_at: null, completed_at: null, waiting_for: null };
  }
  const isOver = last.completed_at !== null && last.number === job.attempt;
  return {
    ...job,
    status: isOver ? job.status : (last.status as OverviewJob["status"]),
    attempt: last.number,
    attempts,
    artifacts,
    assigned_at: last.assigned_at,
    started_at: last.started_at,
    completed_at: last.completed_at,
    waiting_for: null,
  };
}

function attemptAt(attempt: Attempt, at: number): Attempt | null {
  const past = (time: string | null) => (time !== null && Date.parse(time) <= at ? time : null);
  const queued_at = past(attempt.queued_at);
  if (!queued_at) return null;
  const assigned_at = past(attempt.assigned_at);
  const started_at = past(attempt.started_at);
  const completed_at = past(attempt.completed_at);
  const unfinished = started_at ? "RUNNING" : assigned_at ? "ASSIGNED" : "QUEUED";
  const steps = attempt.steps.filter(({ start_at }) => past(start_at));
  const status = completed_at ? attempt.status : unfinished;
  return { ...attempt, status, queued_at, assigned_at, started_at, completed_at, steps };
}
