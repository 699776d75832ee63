/** The jobs of a build over time. Each attempt is a bar that shows how long it waited, started and ran. */
import type { Attempt, Overview, OverviewJob } from "../../api/builds.ts";
import { now } from "../../components/clock.ts";
import { StatusBadge } from "../../components/status_badge.tsx";
import { isActive, statusStyle } from "../../format/status.ts";
import { formatDuration, secondsBetween } from "../../format/time.ts";
import { findCriticalPath, findDependencies } from "./graph_layout.ts";
import { axisTicks } from "./time_axis.ts";
import { TimelineSteps } from "./timeline_steps.tsx";

interface Props {
  build: Overview;
  selected: number | undefined;
  href: (jobId: number) => string;
  /** The end of the axis, in milliseconds. Null: the end of the build, or now. */
  until: number | null;
}

interface Span {
  kind: string;
  start: string | null;
  end: string | null;
  title: string;
}

export function Timeline({ build, selected, href, until }: Props) {
  const begin = Date.parse(build.created_at ?? build.jobs[0]?.created_at ?? "");
  const isRunning = build.jobs.some(({ status }) => isActive(status));
  const end = until ?? (isRunning || !build.completed_at ? now.value : Date.parse(build.completed_at));
  const total = Math.max((end - begin) / 1000, 1);
  const critical = new Set(isRunning ? [] : findCriticalPath(build.jobs, findDependencies(build.jobs)));
  const percent = (time: string | null) =>
    (100 * Math.min(Math.max(((time ? Date.parse(time) : end) - begin) / 1000, 0), total)) / total;
  return (
    <div class="timeline">
      <div class="timeline-axis" aria-hidden="true">
        {axisTicks(total).map((seconds) => (
          <span key={seconds} style={{ left: `${(100 * seconds) / total}%` }}>
            {formatDuration(seconds)}
          </span>
        ))}
      </div>
      <ul>
        {build.jobs.map((job) => (
          <li key={job.id} data-row class={critical.has(job.name) && critical.size > 1 ? "critical" : ""}>
            <a
              href={href(job.id)}
              aria-current={job.id === selected ? "true" : undefined}
              title={job.waiting_for ?? undefined}
            >
              <span class="timeline-name">
                <StatusBadge status={job.status} compact /> {job.name}
              </span>
              <span class="timeline-track">
                {spansOf(job).map(({ kind, start, end: spanEnd, title }, index) => (
                  <span
                    key={index}
                    class={`span ${kind}`}
                    title={title}
                    style={{
                      left: `${percent(start)}%`,
                      width: `${Math.max(percent(spanEnd) - percent(start), 0.3)}%`,
                    }}
                  />
                ))}
              </span>
              <span class="timeline-time number">{durationText(job)}</span>
            </a>
            {job.id === selected && <TimelineSteps job={job} percent={percent} />}
          </li>
        ))}
      </ul>
      <p class="legend">
        <span class="span waited" aria-hidden="true" /> waited <span class="span assigned" aria-hidden="true" />{" "}
        starting <span class="span ran" aria-hidden="true" /> ran
        {critical.size > 1 && <> · bold: critical path</>}
      </p>
    </div>
  );
}

function durationText(job: OverviewJob): string {
  const seconds = secondsBetween(job.started_at, job.completed_at, now.value);
  return seconds === null ? "" : formatDuration(seconds);
}

function spansOf(job: OverviewJob): Span[] {
  return job.attempts.flatMap((attempt) => attemptSpans(attempt, job.attempts.length > 1));
}

function attemptSpans(attempt: Attempt, hasSeveral: boolean): Span[] {
  const { queued_at, assigned_at, started_at, completed_at, status } = attempt;
  const name = hasSeveral ? `Attempt ${attempt.number}: ` : "";
  const span = (kind: string, word: string, start: string | null, end: string | null): Span[] => {
    const seconds = secondsBetween(start, end, now.value);
    return start && seconds ? [{ kind, start, end, title: `${name}${word} ${formatDuration(seconds)}` }] : [];
  };
  return [
    ...span("waited", "waited", queued_at, assigned_at ?? completed_at),
    ...span("assigned", "starting", assigned_at, started_at ?? completed_at),
    ...span(`ran tone-${statusStyle(status).tone}`, statusStyle(status).word.toLowerCase(), started_at, completed_at),
  ];
}
