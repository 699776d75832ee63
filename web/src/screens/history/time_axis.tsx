import { useMemo } from "preact/hooks";
import { formatExact } from "../../format/time.ts";
import { binMoments, type Moment, placeOnAxis } from "./axis.ts";
import { TONE_WORDS } from "./story.ts";

const BINS = 160;
const WIDTH = 1000;
const HEIGHT = 44;
const MAX_TICK = 30;

interface Props {
  /** All loaded moments, oldest first. */
  moments: Moment[];
  version: number;
  latest: number;
  choose: (version: number) => void;
}

/** The versions of an object on a time axis, with a slider that selects one. */
export function TimeAxis({ moments, version, latest, choose }: Props) {
  const ticks = useMemo(() => binMoments(moments, BINS), [moments]);
  const place = useMemo(() => placeOnAxis(moments), [moments]);
  const first = moments[0];
  const last = moments.at(-1);
  const shown = moments.find((moment) => moment.version === version);
  if (!first || !last) return null;
  const used = TONE_WORDS.filter(([tone]) => moments.some((moment) => moment.tone === tone));
  const highest = Math.max(...ticks.map(({ count }) => count));
  return (
    <div class="time-axis">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true" focusable="false">
        <line x1="0" x2={WIDTH} y1={HEIGHT - 1} y2={HEIGHT - 1} class="baseline" />
        {ticks.map((tick) => {
          const height = 12 + (MAX_TICK - 12) * (highest > 1 ? Math.log(tick.count) / Math.log(highest) : 0);
          const isShown = version >= tick.first && version <= tick.last;
          return (
            // biome-ignore lint/a11y/noStaticElementInteractions: the slider below does the same with the keyboard
            <rect
              key={tick.first}
              class={`tick tone-${tick.tones.length === 1 ? tick.tones[0] : "running"}${isShown ? " shown" : ""}`}
              x={tick.position * WIDTH - 2.5}
              y={HEIGHT - 1 - height}
              width="5"
              height={height}
              onClick={() => choose(tick.last)}
            >
              <title>{tick.count === 1 ? `Version ${tick.first}` : `Versions ${tick.first} to ${tick.last}`}</title>
            </rect>
          );
        })}
        {shown && <line class="cursor" x1={place(shown.at) * WIDTH} x2={place(shown.at) * WIDTH} y1="0" y2={HEIGHT} />}
      </svg>
      <input
        type="range"
        class="scrubber"
        aria-label="Version"
        aria-valuetext={shown ? `Version ${version}, ${formatExact(shown.at)}` : `Version ${version}`}
        min={first.version}
        max={latest}
        step="1"
        value={version}
        onInput={({ currentTarget }) => choose(Number(currentTarget.value))}
      />
      <div class="axis-ends">
        <time dateTime={first.at}>{formatExact(first.at)}</time>
        <span class="axis-legend">
          {used.map(([tone, word]) => (
            <span key={tone} class={`tone-${tone}`}>
              <i /> {word}
            </span>
          ))}
        </span>
        <time dateTime={last.at}>{formatExact(last.at)}</time>
      </div>
    </div>
  );
}
