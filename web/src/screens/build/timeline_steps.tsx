/** The steps of the selected job in the timeline, a row each. */
import type { OverviewJob } from "../../api/builds.ts";
import { now } from "../../components/clock.ts";
import { StatusBadge } from "../../components/status_badge.tsx";
import { statusStyle } from "../../format/status.ts";
import { formatDuration, secondsBetween } from "../../format/time.ts";

type Step = OverviewJob["attempts"][number]["steps"][number];

interface Props {
  job: OverviewJob;
  percent: (time: string | null) => number;
}

export function TimelineSteps({ job, percent }: Props) {
  const rows = job.attempts.flatMap(({ number, steps, completed_at }) =>
    steps
      .filter(({ start_at }) => start_at)
      .map((step) => ({ step, number, status: stepStatus(step, completed_at), end: step.closed_at ?? completed_at })),
  );
  if (rows.length === 0) return null;
  return (
    <ul class="timeline-steps" aria-label={`Steps of ${job.name}`}>
      {rows.map(({ step, number, status, end }) => {
        const seconds = secondsBetween(step.start_at, end, now.value) ?? 0;
        const name = step.name || "output";
        return (
          <li key={`${number}-${step.index}`}>
            <span class="timeline-name" title={job.attempts.length > 1 ? `Attempt ${number}: ${name}` : name}>
              <StatusBadge status={status} compact /> {name}
            </span>
            <span class="timeline-track">
              <span
                class={`span ran tone-${statusStyle(status).tone}`}
                title={`${name}: ${formatDuration(seconds)}`}
                style={{
                  left: `${percent(step.start_at)}%`,
                  width: `${Math.max(percent(end) - percent(step.start_at), 0.3)}%`,
                }}
              />
            </span>
            <span class="timeline-time number">{formatDuration(seconds)}</span>
          </li>
        );
      })}
    </ul>
  );
}

function stepStatus({ success, skipped, closed_at }: Step, completed_at: string | null): string {
  if (skipped) return "SKIPPED";
  if (success === false) return "FAILED";
  if (success) return "SUCCESS";
  return closed_at || completed_at ? "CANCELED" : "RUNNING";
}
