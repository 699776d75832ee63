/** Observations of the system by this page: missing processes, and samples of the last ten minutes. */
import type { Process, System } from "../../api/system.ts";

export interface KnownProcess extends Process {
  /** Unix time in milliseconds of the first request that the process did not answer. Null: it answered the latest. */
  missingSince: number | null;
}

export interface Sample {
  time: number;
  jobs: number;
  loopLagMs: number;
  behind: number;
  /** Sum of the last sequence numbers of all streams. */
  sequence: number;
}

export interface Memory {
  processes: KnownProcess[];
  samples: Sample[];
}

export const NOTHING: Memory = { processes: [], samples: [] };
const FORGOTTEN_MS = 600_000;

/** Add a sample of the system's state. Forget processes that were replaced, or are missing for ten minutes. */
export function remember(memory: Memory, system: System, now: number): Memory {
  const present = system.processes.map((process) => ({ ...process, missingSince: null }));
  const isPresent = ({ service, instance }: Process) =>
    present.some((process) => process.service === service && process.instance === instance);
  const missing = memory.processes
    .filter((process) => !isPresent(process))
    .map((process) => ({ ...process, leading: false, missingSince: process.missingSince ?? now }))
    .filter(({ missingSince }) => now - missingSince < FORGOTTEN_MS)
    .filter(({ service, missingSince }) => !isReplaced(memory, present, service, missingSince, now));
  const sample = {
    time: now,
    jobs: system.queue.jobs,
    loopLagMs: Math.max(0, ...present.map(({ loop_lag_ms }) => loop_lag_ms)),
    behind: Math.max(0, ...present.map(maxLag)),
    sequence: system.streams.reduce((sum, { last_seq }) => sum + last_seq, 0),
  };
  const samples = [...memory.samples.filter(({ time }) => now - time < FORGOTTEN_MS), sample];
  return { processes: sortProcesses([...present, ...missing]), samples };
}

/** Whether a new replica of the service has appeared since this one stopped answering. */
function isReplaced(memory: Memory, present: Process[], service: string, missingSince: number, now: number): boolean {
  if (missingSince === now) return false;
  const before = memory.processes.filter((process) => process.service === service && process.missingSince === null);
  const known = new Set(before.map(({ instance }) => instance));
  const isNew = ({ instance, started_at }: Process) => !known.has(instance) || Date.parse(started_at) > missingSince;
  return present.some((process) => process.service === service && isNew(process));
}

export function maxLag({ lags }: Process): number {
  return Math.max(0, ...Object.values(lags));
}

/** Events per second between each sample and the previous one. */
export function eventRates(samples: readonly Sample[]): number[] {
  return samples.slice(1).map((sample, i) => {
    const before = samples[i] as Sample;
    const seconds = (sample.time - before.time) / 1000;
    return seconds > 0 ? Math.max(0, (sample.sequence - before.sequence) / seconds) : 0;
  });
}

function sortProcesses(processes: KnownProcess[]): KnownProcess[] {
  return processes.sort(
    (one, other) => one.service.localeCompare(other.service) || one.instance.localeCompare(other.instance),
  );
}
