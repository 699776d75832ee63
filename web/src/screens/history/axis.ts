/** The time axis of a history. Entries that lie close together share a tick. */
export interface Moment {
  version: number;
  at: string;
  tone: string;
}

export interface Tick {
  /** Position on the axis, 0 to 1. */
  position: number;
  /** The lowest and the highest version of the entries. */
  first: number;
  last: number;
  count: number;
  tones: string[];
}

/** Return one tick for each bin of the axis that has moments. The moments are ordered by time. */
export function binMoments(moments: readonly Moment[], bins: number): Tick[] {
  if (moments.length === 0) return [];
  const place = placeOnAxis(moments);
  const ticks: Tick[] = [];
  let bin = -1;
  for (const moment of moments) {
    const at = Math.min(bins - 1, Math.floor(place(moment.at) * bins));
    const tick = ticks.at(-1);
    if (at !== bin || !tick) {
      ticks.push({
        position: (at + 0.5) / bins,
        first: moment.version,
        last: moment.version,
        count: 1,
        tones: [moment.tone],
      });
      bin = at;
      continue;
    }
    tick.last = moment.version;
    tick.count += 1;
    if (!tick.tones.includes(moment.tone)) tick.tones.push(moment.tone);
  }
  return ticks;
}

/**
 * Return a function that maps times to positions from 0 to 1. If all moments have the same time, it returns 0.5.
 * The moments are ordered by time.
 */
export function placeOnAxis(moments: readonly Moment[]): (at: string) => number {
  const start = Date.parse(moments[0]?.at ?? "");
  const span = Date.parse(moments.at(-1)?.at ?? "") - start;
  return (at) => (span > 0 ? Math.min(1, Math.max(0, (Date.parse(at) - start) / span)) : 0.5);
}
