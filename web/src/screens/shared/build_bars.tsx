/** The last builds of a project as bars. The height shows the duration, the color the result; failures have a notch. */
import type { ListedBuild } from "../../api/builds.ts";
import { statusStyle } from "../../format/status.ts";
import { formatDuration, secondsBetween } from "../../format/time.ts";
import { url } from "../../router/location.ts";

const MAX_BARS = 30;
const MIN_HEIGHT = 15; // in percent of the longest bar

export function BuildBars({ builds }: { builds: ListedBuild[] }) {
  const shown = builds.slice(0, MAX_BARS).reverse();
  const seconds = shown.map(({ started_at, completed_at }) =>
    completed_at ? (secondsBetween(started_at, completed_at) ?? 0) : 0,
  );
  const longest = Math.max(...seconds, 1);
  if (shown.length === 0) return <span class="muted">no builds yet</span>;
  return (
    <div class="build-bars">
      {shown.map(({ id, local_id, status }, index) => {
        const { word, tone } = statusStyle(status);
        const took = seconds[index] ? `, took ${formatDuration(seconds[index])}` : "";
        const height = MIN_HEIGHT + (100 - MIN_HEIGHT) * Math.sqrt((seconds[index] ?? 0) / longest);
        return (
          <a
            key={id}
            href={url(`/builds/${id}`)}
            class={`tone-${tone}`}
            style={{ "--height": `${height}%` }}
            title={`#${local_id ?? id}: ${word}${took}`}
            tabIndex={-1}
          >
            <span class="visually-hidden">
              Build {local_id ?? id}: {word}
            </span>
          </a>
        );
      })}
    </div>
  );
}
