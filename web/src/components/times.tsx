import { formatDuration, formatExact, formatRelative, secondsBetween } from "../format/time.ts";
import { now } from "./clock.ts";

/** A relative time. The tooltip shows the exact time. */
export function RelativeTime({ time, none = "never" }: { time: string | null | undefined; none?: string }) {
  if (!time) return <span class="muted">{none}</span>;
  return (
    <time dateTime={time} title={formatExact(time)}>
      {formatRelative(time, now.value)}
    </time>
  );
}

/** The time from `start` to `end`, or to now without an end. */
export function Duration({ start, end }: { start: string | null; end: string | null }) {
  const seconds = secondsBetween(start, end, end ? 0 : now.value);
  if (seconds === null) return <span class="muted">–</span>;
  return (
    <span class="number" title={start ? `Started ${formatExact(start)}` : ""}>
      {formatDuration(seconds)}
    </span>
  );
}
