/** Readable forms of times and durations. */
const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const monthAndDay = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const withYear = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });

/** A duration with its two largest units: `0.4 s`, `4 s`, `1 m 12 s`, `2 h 5 m`, `3 d 4 h`. */
export function formatDuration(seconds: number): string {
  if (seconds < 0.95) return seconds <= 0 ? "0 s" : `${seconds.toFixed(1)} s`;
  const total = Math.round(seconds);
  if (total < MINUTE) return `${total} s`;
  if (total < HOUR) return joined(Math.floor(total / MINUTE), "m", total % MINUTE, "s");
  if (total < DAY) return joined(Math.floor(total / HOUR), "h", Math.floor((total % HOUR) / MINUTE), "m");
  return joined(Math.floor(total / DAY), "d", Math.floor((total % DAY) / HOUR), "h");
}

function joined(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small ? `${large} ${largeUnit} ${small} ${smallUnit}` : `${large} ${largeUnit}`;
}

/** Seconds between two times. A missing end is now; without a start, the result is null. */
export function secondsBetween(start: string | null, end: string | null, now = Date.now()): number | null {
  if (!start) return null;
  return Math.max(0, ((end ? Date.parse(end) : now) - Date.parse(start)) / 1000);
}

/** A time relative to now: `just now`, `4 minutes ago`, `in 2 hours`. More than 30 days from now, a date. */
export function formatRelative(time: string, now = Date.now()): string {
  const seconds = (now - Date.parse(time)) / 1000;
  if (Math.abs(seconds) < 10) return "just now";
  const [amount, unit] = largestUnit(Math.abs(seconds));
  if (unit === "day" && amount > 30) {
    const date = new Date(time);
    return (date.getFullYear() === new Date(now).getFullYear() ? monthAndDay : withYear).format(date);
  }
  const text = `${amount} ${unit}${amount === 1 ? "" : "s"}`;
  return seconds < 0 ? `in ${text}` : `${text} ago`;
}

function largestUnit(seconds: number): [number, string] {
  if (seconds < MINUTE) return [Math.floor(seconds), "second"];
  if (seconds < HOUR) return [Math.floor(seconds / MINUTE), "minute"];
  if (seconds < DAY) return [Math.floor(seconds / HOUR), "hour"];
  return [Math.floor(seconds / DAY), "day"];
}

/** A time with its day of the week in a time zone: `Mon, Mar 2, 2026, 02:30`. */
export function formatIn(time: string, timeZone: string): string {
  const options = { weekday: "short", year: "numeric", month: "short", day: "numeric" } as const;
  return new Intl.DateTimeFormat(undefined, { ...options, hour: "2-digit", minute: "2-digit", timeZone }).format(
    new Date(time),
  );
}

export function formatExact(time: string): string {
  return exact.format(new Date(time));
}
