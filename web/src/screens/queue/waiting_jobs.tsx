/** Jobs of running builds that wait for a runner, with the reason. */
import { getOverview, type Overview, type OverviewJob } from "../../api/builds.ts";
import { useResource } from "../../api/resource.ts";
import { Section } from "../../components/page.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { Duration } from "../../components/times.tsx";
import { url } from "../../router/location.ts";
import { isAboutBuilds } from "../shared/live_filters.ts";

const MAX_BUILDS = 10; // number of running builds whose jobs are loaded

interface Row {
  build: Overview;
  job: OverviewJob;
}

const COLUMNS: Column<Row>[] = [
  {
    name: "Job",
    kind: "narrow",
    cell: ({ build, job }) => (
      <a href={url(`/builds/${build.id}`, { job: job.id })}>
        {`${build.project.name} #${build.local_id ?? build.id}`} · {job.name}
      </a>
    ),
  },
  { name: "Why it waits", kind: "wide", cell: ({ job }) => job.waiting_for },
  {
    name: "Waited",
    kind: "number",
    cell: ({ job }) => <Duration start={job.attempts.at(-1)?.queued_at ?? job.created_at} end={null} />,
  },
];

export function WaitingJobs({ builds }: { builds: number[] }) {
  const shown = builds.slice(0, MAX_BUILDS);
  const overviews = useResource(`waiting-jobs-${shown.join()}`, () => Promise.all(shown.map(getOverview)), {
    refreshOn: isAboutBuilds,
  });
  const rows = (overviews.data ?? []).flatMap((build) =>
    build.jobs.filter((job) => job.status === "QUEUED" && job.waiting_for).map((job) => ({ build, job })),
  );
  if (rows.length === 0) return null;
  return (
    <Section title="Waiting jobs of running builds">
      <Table caption="Waiting jobs" columns={COLUMNS} rows={rows} rowKey={({ job }) => String(job.id)} />
    </Section>
  );
}
