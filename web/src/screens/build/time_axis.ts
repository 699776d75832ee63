const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
const MAX_TICKS = 6;

/** Return the positions of the ticks on an axis of `total` seconds, in seconds. The start has no tick. */
export function axisTicks(total: number): number[] {
  const step = STEPS.find((candidate) => total / candidate <= MAX_TICKS) ?? Math.ceil(total / MAX_TICKS);
  const ticks: number[] = [];
  for (let tick = step; tick <= total * 0.97; tick += step) ticks.push(tick);
  return ticks;
}
