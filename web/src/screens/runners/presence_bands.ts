/** The times at which a runner was online, from the events of its history. */
export interface Band {
  start: number;
  end: number;
  isOnline: boolean;
}

interface Entry {
  at: string;
  events: readonly { name: string }[];
}

const CHANGES: Record<string, boolean> = { RunnerOnline: true, RunnerOffline: false, RunnerRegistered: false };

/** Return the periods online and offline between two times, oldest first. They start at the first known change. */
export function presenceBands(entries: readonly Entry[], from: number, to: number): Band[] {
  const changes = entries
    .flatMap(({ at, events }) => events.map(({ name }) => ({ at: Date.parse(at), isOnline: CHANGES[name] })))
    .filter((change): change is { at: number; isOnline: boolean } => change.isOnline !== undefined)
    .sort((one, other) => one.at - other.at);
  const bands: Band[] = [];
  for (const [index, { at, isOnline }] of changes.entries()) {
    const start = Math.max(at, from);
    const end = Math.min(changes[index + 1]?.at ?? to, to);
    const last = bands.at(-1);
    if (end <= start) continue;
    if (last?.isOnline === isOnline) last.end = end;
    else bands.push({ start, end, isOnline });
  }
  return bands;
}

/** The percentage of the known time in which the runner was online. Null: nothing is known. */
export function onlineShare(bands: readonly Band[]): number | null {
  const length = (counted: readonly Band[]) => counted.reduce((sum, { start, end }) => sum + end - start, 0);
  const known = length(bands);
  return known ? (100 * length(bands.filter(({ isOnline }) => isOnline))) / known : null;
}
