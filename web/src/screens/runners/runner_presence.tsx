/** A band that shows when a runner was online in the last days. */
import { useState } from "preact/hooks";
import { loadStory } from "../../api/history.ts";
import { useResource } from "../../api/resource.ts";
import { now } from "../../components/clock.ts";
import { Loaded } from "../../components/states.tsx";
import { formatDuration, formatExact } from "../../format/time.ts";
import { HistoryLink } from "../history/history_link.tsx";
import { onlineShare, presenceBands } from "./presence_bands.ts";

const DAYS = 7;
const DAY_MS = 86_400_000;

/** A section that loads and shows the online times of a runner when the user opens it. */
export function RunnerPresence({ uuid }: { uuid: string }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details class="presence" onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>Last {DAYS} days</summary>
      {isOpen && <Presence uuid={uuid} />}
    </details>
  );
}

function Presence({ uuid }: { uuid: string }) {
  const stream = `runner-${uuid}`;
  const story = useResource(`history-${stream}`, () => loadStory("runner", uuid), {
    refreshOn: (event) => event.stream === stream,
  });
  return (
    <Loaded resource={story}>
      {({ entries }) => {
        const end = now.value;
        const start = end - DAYS * DAY_MS;
        const bands = presenceBands(entries, start, end);
        const share = onlineShare(bands);
        const outages = bands.filter(({ isOnline }) => !isOnline).length;
        const sentence =
          share === null
            ? "No data for this period."
            : `Online ${share.toFixed(share > 99 && share < 100 ? 1 : 0)} % of the time, offline ${outages === 1 ? "once" : `${outages} times`}.`;
        return (
          <>
            <div class="presence-bands" aria-hidden="true">
              {bands.map((band) => (
                <span
                  key={band.start}
                  class={band.isOnline ? "online" : "offline"}
                  title={`${band.isOnline ? "Online" : "Offline"} for ${formatDuration((band.end - band.start) / 1000)} from ${formatExact(new Date(band.start).toISOString())}`}
                  style={{
                    left: `${(100 * (band.start - start)) / (end - start)}%`,
                    width: `${Math.max((100 * (band.end - band.start)) / (end - start), 0.4)}%`,
                  }}
                />
              ))}
            </div>
            <p class="presence-legend">
              {sentence} <HistoryLink kind="runner" id={uuid} />
            </p>
          </>
        );
      }}
    </Loaded>
  );
}
