/** Time travel on the page of a build: a slider over the times at which something changed. */
import type { Overview } from "../../api/builds.ts";
import { Button } from "../../components/button.tsx";
import { formatDuration, formatExact } from "../../format/time.ts";
import { setQuery } from "../../router/location.ts";
import { changeTimes } from "./build_past.ts";

interface Props {
  build: Overview;
  /** The time that is shown; null: now. */
  at: number | null;
}

const choose = (at: number | null) => setQuery({ at: at === null ? null : new Date(at).toISOString() });

/** A slider with a step for each change and a last step for now. Hidden if there are fewer than three changes. */
export function BuildTime({ build, at }: Props) {
  const times = changeTimes(build);
  const [first] = times;
  if (first === undefined || times.length < 3) return null;
  const shown =
    at === null
      ? times.length
      : Math.max(
          times.findLastIndex((time) => time <= at),
          0,
        );
  const word = at === null ? "now" : `${formatDuration((at - first) / 1000)} after the start`;
  return (
    <label class="build-time">
      <span class="build-time-name">Time travel</span>
      <input
        type="range"
        class="scrubber"
        min={0}
        max={times.length}
        step={1}
        value={shown}
        aria-valuetext={at === null ? "Now" : formatExact(new Date(at).toISOString())}
        onInput={({ currentTarget }) => choose(times[Number(currentTarget.value)] ?? null)}
      />
      <output class="number muted">{word}</output>
    </label>
  );
}

export function PastBanner({ at }: { at: number }) {
  return (
    <p class="past-banner" role="status">
      <span>
        You look at the build as of <strong>{formatExact(new Date(at).toISOString())}</strong>. Actions are off, and the
        log is shown in full.
      </span>
      <Button onClick={() => choose(null)}>Back to now</Button>
    </p>
  );
}
