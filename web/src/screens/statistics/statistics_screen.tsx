import { useMemo } from "preact/hooks";
import { listProjects, type Project } from "../../api/projects.ts";
import { useResource } from "../../api/resource.ts";
import { type Bucket, loadStatistics, type Statistics } from "../../api/statistics.ts";
import { Page, Section } from "../../components/page.tsx";
import { Empty, ErrorState, Loading } from "../../components/states.tsx";
import { Table } from "../../components/table.tsx";
import { plural } from "../../format/text.ts";
import { formatDuration } from "../../format/time.ts";
import { location, setQuery, url } from "../../router/location.ts";
import { Plot, type Series } from "./plot.tsx";
import { TestStatistics } from "./test_statistics.tsx";
import { fillDays, slowestAndFlakiest, sumBuckets } from "./totals.ts";

const JOBS = 20;
const PERIODS = ["7", "30", "90", "365"];

/** Builds by day and outcome, how long they ran and waited, and the slowest and flakiest jobs. */
export default function StatisticsScreen() {
  const { query } = location.value;
  const project = query.get("project") ?? "";
  const days = PERIODS.includes(query.get("days") ?? "") ? Number(query.get("days")) : 30;
  const projects = useResource("projects", listProjects);
  const resource = useResource(JSON.stringify(["statistics", project, days]), () => loadStatistics(project, days));
  const known = projects.data ?? [];
  return (
    <Page title="Statistics">
      <div class="filters">
        <select
          aria-label="Project"
          value={project}
          onChange={({ currentTarget }) => setQuery({ project: currentTarget.value })}
        >
          <option value="">All projects</option>
          {known.map(({ id, name }) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
        <select
          aria-label="Period"
          value={days}
          onChange={({ currentTarget }) => setQuery({ days: currentTarget.value })}
        >
          {PERIODS.map((period) => (
            <option key={period} value={period}>
              last {period} days
            </option>
          ))}
        </select>
      </div>
      {resource.data ? (
        <Numbers statistics={resource.data} projects={known} />
      ) : resource.error ? (
        <ErrorState error={resource.error} retry={resource.reload} />
      ) : (
        <Loading />
      )}
      {project && <TestStatistics project={Number(project)} />}
    </Page>
  );
}

function Numbers({ statistics, projects }: { statistics: Statistics; projects: Project[] }) {
  const buckets = useMemo(() => fillDays(statistics.buckets), [statistics]);
  const days = useMemo(() => buckets.map(({ at }) => at), [buckets]);
  const outcomes = useMemo(() => outcomeSeries(buckets), [buckets]);
  const durations = useMemo(() => durationSeries(buckets), [buckets]);
  const totals = sumBuckets(buckets);
  if (totals.builds === 0)
    return (
      <Empty icon="statistics" title="No build has ended in this period">
        <p>Choose a longer period, or launch a build: the first numbers appear when it ends.</p>
      </Empty>
    );
  return (
    <>
      <ul class="tiles">
        <Tile
          number={String(totals.builds)}
          name={totals.builds === 1 ? "build" : "builds"}
          fact={`${totals.killed} canceled`}
        />
        <Tile number={percent(totals.successRate)} name="passed" fact={`${plural(totals.failed, "failure")}`} />
        <Tile number={formatDuration(statistics.runner_seconds)} name="run" fact="by all runners together" />
      </ul>
      <Plot label="Builds a day" days={days} series={outcomes} unit="builds" />
      <Plot label="Duration and wait" days={days} series={durations} unit="seconds" />
      <Section title="Slowest and flakiest jobs">
        <Jobs statistics={statistics} projects={projects} />
      </Section>
      <Section title="The same numbers">
        <DayTable buckets={buckets} />
      </Section>
    </>
  );
}

function Tile({ number, name, fact }: { number: string; name: string; fact: string }) {
  return (
    <li class="tile">
      <span class="tile-number">{number}</span>
      <span class="tile-name">{name}</span>
      <span class="tile-fact">{fact}</span>
    </li>
  );
}

/** Stacked bars: each value includes the values of the following series, which are drawn over it. */
function outcomeSeries(buckets: Bucket[]): Series[] {
  return [
    {
      name: "canceled",
      color: "--neutral",
      kind: "bars",
      values: buckets.map(({ succeeded, failed, killed }) => succeeded + failed + killed),
    },
    {
      name: "failed",
      color: "--failure",
      kind: "bars",
      values: buckets.map(({ succeeded, failed }) => succeeded + failed),
    },
    { name: "passed", color: "--success", kind: "bars", values: buckets.map(({ succeeded }) => succeeded) },
  ];
}

function durationSeries(buckets: Bucket[]): Series[] {
  return [
    { name: "ran, median", color: "--running", kind: "line", values: buckets.map(({ run_p50 }) => run_p50) },
    { name: "ran, 95th percentile", color: "--running", kind: "dashes", values: buckets.map(({ run_p95 }) => run_p95) },
    { name: "waited, median", color: "--waiting", kind: "line", values: buckets.map(({ wait_p50 }) => wait_p50) },
    {
      name: "waited, 95th percentile",
      color: "--waiting",
      kind: "dashes",
      values: buckets.map(({ wait_p95 }) => wait_p95),
    },
  ];
}

function Jobs({ statistics, projects }: { statistics: Statistics; projects: Project[] }) {
  return (
    <Table
      caption="Slowest and flakiest jobs"
      rows={slowestAndFlakiest(statistics.jobs, JOBS)}
      rowKey={({ project_id, name }) => `${project_id}/${name}`}
      columns={[
        { name: "Job", kind: "wide", cell: ({ name }) => <strong>{name}</strong> },
        {
          name: "Project",
          cell: ({ project_id }) => (
            <a href={url(`/projects/${project_id}`)}>
              {projects.find(({ id }) => id === project_id)?.name ?? project_id}
            </a>
          ),
        },
        { name: "Runs", kind: "number", cell: ({ runs }) => runs },
        {
          name: "Failed",
          kind: "number",
          cell: ({ failed, runs }) => `${failed} (${percent(runs ? failed / runs : null)})`,
        },
        { name: "Flaky", kind: "number", cell: ({ flaky }) => flaky },
        { name: "Median", kind: "number", cell: ({ p50 }) => duration(p50) },
        { name: "95 %", kind: "number", cell: ({ p95 }) => duration(p95) },
      ]}
    />
  );
}

function DayTable({ buckets }: { buckets: Bucket[] }) {
  return (
    <Table
      caption="Builds by day"
      rows={buckets.filter(({ succeeded, failed, killed }) => succeeded + failed + killed > 0).reverse()}
      rowKey={({ at }) => at}
      columns={[
        { name: "Day", kind: "wide", cell: ({ at }) => at.slice(0, 10) },
        { name: "Passed", kind: "number", cell: ({ succeeded }) => succeeded },
        { name: "Failed", kind: "number", cell: ({ failed }) => failed },
        { name: "Canceled", kind: "number", cell: ({ killed }) => killed },
        { name: "Ran", kind: "number", cell: ({ run_p50, run_p95 }) => `${duration(run_p50)} / ${duration(run_p95)}` },
        {
          name: "Waited",
          kind: "number",
          cell: ({ wait_p50, wait_p95 }) => `${duration(wait_p50)} / ${duration(wait_p95)}`,
        },
      ]}
    />
  );
}

function duration(seconds: number | null): string {
  return seconds === null ? "–" : formatDuration(seconds);
}

function percent(share: number | null): string {
  return share === null ? "–" : `${Math.round(share * 100)} %`;
}
