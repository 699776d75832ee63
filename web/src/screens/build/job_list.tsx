/** The jobs of a build by stage. */
import type { OverviewJob } from "../../api/builds.ts";
import { StatusBadge } from "../../components/status_badge.tsx";
import { Duration } from "../../components/times.tsx";

interface Props {
  jobs: OverviewJob[];
  selected: number | undefined;
  href: (jobId: number) => string;
}

export function JobList({ jobs, selected, href }: Props) {
  const stages = [...new Set(jobs.map(({ stage }) => stage))];
  return (
    <div class="job-list">
      {stages.map((stage) => (
        <section key={stage}>
          <h3>{stage}</h3>
          <ul>
            {jobs
              .filter((job) => job.stage === stage)
              .map((job) => (
                <li key={job.id} data-row>
                  <a href={href(job.id)} aria-current={job.id === selected ? "true" : undefined}>
                    <StatusBadge status={job.status} compact />
                    <span class="node-name">{job.name}</span>
                    {job.attempt > 1 && <span class="node-attempt">×{job.attempt}</span>}
                    <span class="node-time">
                      <Duration start={job.started_at} end={job.completed_at} />
                    </span>
                  </a>
                </li>
              ))}
          </ul>
        </section>
      ))}
    </div>
  );
}
