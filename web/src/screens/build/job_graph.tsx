/** The jobs of a build as a graph, in columns by dependency. When no job is active, the critical path is marked. */
import type { OverviewJob } from "../../api/builds.ts";
import { StatusBadge } from "../../components/status_badge.tsx";
import { Duration } from "../../components/times.tsx";
import { isActive, statusStyle } from "../../format/status.ts";
import { layoutGraph, type Node } from "./graph_layout.ts";

const WIDTH = 196;
const HEIGHT = 44;
const GAP_X = 56;
const GAP_Y = 14;
const MARGIN = 8;

interface Props {
  jobs: OverviewJob[];
  selected: number | undefined;
  href: (jobId: number) => string;
}

export function JobGraph({ jobs, selected, href }: Props) {
  const { nodes, edges, columns, rows, critical } = layoutGraph(jobs);
  const places = new Map(nodes.map((node) => [node.job.name, node]));
  const width = columns * (WIDTH + GAP_X) - GAP_X + 2 * MARGIN;
  const height = rows * (HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN;
  const isFinished = jobs.every(({ status }) => !isActive(status));
  return (
    <div class="graph" tabIndex={0} role="region" aria-label="Job graph">
      <div class="graph-canvas" style={{ width: `${width}px`, height: `${height}px` }}>
        <svg width={width} height={height} aria-hidden="true" focusable="false">
          {edges.map(({ from, to, isCritical }) => {
            const [start, end] = [places.get(from), places.get(to)];
            if (!start || !end) return null;
            return (
              <path
                key={`${from} ${to}`}
                class={isCritical && isFinished ? "edge critical" : "edge"}
                d={curve(start, end)}
              />
            );
          })}
        </svg>
        {nodes.map(({ job, ...place }) => (
          <a
            key={job.id}
            href={href(job.id)}
            class={`graph-node tone-${statusStyle(job.status).tone}${critical.has(job.name) && isFinished && critical.size > 1 ? " critical" : ""}`}
            aria-current={job.id === selected ? "true" : undefined}
            style={{ left: `${left(place)}px`, top: `${top(place)}px`, width: `${WIDTH}px`, height: `${HEIGHT}px` }}
            title={nodeTitle(job)}
          >
            <StatusBadge status={job.status} compact />
            <span class="node-name">{job.name}</span>
            {job.attempt > 1 && (
              <span class="node-attempt" title={`Attempt ${job.attempt}`}>
                ×{job.attempt}
              </span>
            )}
            <span class="node-time">
              {job.started_at && <Duration start={job.started_at} end={job.completed_at} />}
            </span>
          </a>
        ))}
      </div>
      {isFinished && critical.size > 1 && (
        <p class="legend">
          <span class="legend-line" aria-hidden="true" /> Critical path: these jobs decided how long the build took.
        </p>
      )}
    </div>
  );
}

function nodeTitle({ name, stage, waiting_for, status }: OverviewJob): string {
  return [`${name} (${stage}): ${statusStyle(status).word}`, waiting_for].filter(Boolean).join("\n");
}

type Place = Pick<Node<unknown>, "column" | "row">;

function left({ column }: Place): number {
  return MARGIN + column * (WIDTH + GAP_X);
}

function top({ row }: Place): number {
  return MARGIN + row * (HEIGHT + GAP_Y);
}

function curve(from: Place, to: Place): string {
  const [x1, y1, x2, y2] = [left(from) + WIDTH, top(from) + HEIGHT / 2, left(to), top(to) + HEIGHT / 2];
  const bend = Math.max(GAP_X / 2, (x2 - x1) / 2);
  // a long edge leaves room for the nodes between: it bends only before its end
  const start = x2 - GAP_X;
  const lead = start > x1 ? `L${start},${y1} ` : "";
  return `M${x1},${y1} ${lead}C${x2 - (start > x1 ? GAP_X / 2 : bend)},${y1} ${x2 - GAP_X / 2},${y2} ${x2},${y2}`;
}
