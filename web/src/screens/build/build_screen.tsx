import { getOverview, listBuilds, type Overview, type OverviewJob } from "../../api/builds.ts";
import { useResource } from "../../api/resource.ts";
import { Page } from "../../components/page.tsx";
import { Loaded } from "../../components/states.tsx";
import { StatusBadge } from "../../components/status_badge.tsx";
import { Segmented } from "../../components/tabs.tsx";
import { useScreenKeys } from "../../layout/keys.ts";
import { jobOfHash } from "../../log/line_hash.ts";
import { location, navigate, setQuery, url } from "../../router/location.ts";
import type { Parameters } from "../../router/routes.tsx";
import { isAboutBuild } from "../shared/live_filters.ts";
import { BuildActions } from "./build_actions.tsx";
import { BuildArtifacts } from "./build_artifacts.tsx";
import { BuildFacts, BuildNotices, BuildVariables } from "./build_facts.tsx";
import { buildAt } from "./build_past.ts";
import { BuildTime, PastBanner } from "./build_time.tsx";
import { JobGraph } from "./job_graph.tsx";
import { JobList } from "./job_list.tsx";
import { JobPanel } from "./job_panel.tsx";
import { ReportedTests } from "./reported_tests.tsx";
import { Timeline } from "./timeline.tsx";

type View = "graph" | "timeline" | "list";
const VIEWS: [View, string][] = [
  ["graph", "Graph"],
  ["timeline", "Timeline"],
  ["list", "List"],
];
const NEIGHBORS = 50; // newest builds of the project, in which the previous and the next build are searched for

/** A build: its jobs, and the log of one of them. */
export default function BuildScreen({ parameters }: { parameters: Parameters }) {
  const id = Number(parameters.id);
  const build = useResource(`build-${id}`, () => getOverview(id), { refreshOn: isAboutBuild(id) });
  return <Loaded resource={build}>{(overview) => <BuildPage build={overview} reload={build.reload} />}</Loaded>;
}

function BuildPage({ build: present, reload }: { build: Overview; reload: () => void }) {
  const { query } = location.value;
  const asked = Date.parse(query.get("at") ?? "");
  const at = Number.isNaN(asked) ? null : asked;
  const build = at === null ? present : buildAt(present, at);
  const { jobs, project } = build;
  const wanted = Number(query.get("job") ?? jobOfHash());
  const job = jobs.find(({ id }) => id === wanted) ?? jobOfInterest(jobs);
  const view = (query.get("view") as View | null) ?? "graph";
  const href = (jobId: number) =>
    url(`/builds/${build.id}`, { view: query.get("view"), at: query.get("at"), job: jobId });
  useNeighborKeys(build);
  return (
    <Page
      wide
      title={`${project.name} #${build.local_id ?? build.id}`}
      mark={<StatusBadge status={build.status} />}
      subtitle={build.message.split("\n", 1)[0]}
      parents={[
        { name: "Projects", href: url("/projects") },
        { name: project.name, href: url(`/projects/${project.id}`) },
      ]}
      actions={at === null && <BuildActions build={build} reload={reload} />}
    >
      {at !== null && <PastBanner at={at} />}
      <BuildFacts build={build} />
      <BuildVariables variables={build.variables} />
      <BuildNotices build={build} />
      {jobs.length > 1 && (
        <section class={at === null ? "jobs" : "jobs past"} aria-label="Jobs">
          <header class="section-header">
            <h2>Jobs</h2>
            <Segmented label="View" options={VIEWS} value={view} onChange={(value) => setQuery({ view: value })} />
          </header>
          {view === "graph" && <JobGraph jobs={jobs} selected={job?.id} href={href} />}
          {view === "timeline" && <Timeline build={build} selected={job?.id} href={href} until={at} />}
          {view === "list" && <JobList jobs={jobs} selected={job?.id} href={href} />}
          <BuildTime build={present} at={at} />
        </section>
      )}
      {at === null && <ReportedTests build={build} />}
      {jobs.length > 1 && <BuildArtifacts jobs={jobs} />}
      {job && (
        <JobPanel
          job={job}
          isPast={at !== null}
          attempt={Number(query.get("attempt") ?? job.attempt)}
          attemptHref={(attempt) => url(`/builds/${build.id}`, { view: query.get("view"), job: job.id, attempt })}
          reload={reload}
        />
      )}
    </Page>
  );
}

/** The job to show first: a failed one, else a running, else a queued one, else the last started, else the first. */
function jobOfInterest(jobs: OverviewJob[]): OverviewJob | undefined {
  const withStatus = (...statuses: string[]) => jobs.find(({ status }) => statuses.includes(status));
  const lastRan = jobs.filter(({ started_at }) => started_at).at(-1);
  return withStatus("FAILED") ?? withStatus("RUNNING", "ASSIGNED") ?? withStatus("QUEUED") ?? lastRan ?? jobs[0];
}

/** Keys `h` and `l`: go to the previous and the next build of the project, if both are among its newest builds. */
function useNeighborKeys({ id, project }: Overview): void {
  const go = (step: 1 | -1) => async () => {
    const { builds } = await listBuilds({ project: [project.id], limit: NEIGHBORS });
    const at = builds.findIndex((other) => other.id === id);
    const found = at >= 0 && builds[at - step];
    if (found) navigate(url(`/builds/${found.id}`));
  };
  useScreenKeys([
    { key: "h", does: "Previous build", run: () => void go(-1)() },
    { key: "l", does: "Next build", run: () => void go(1)() },
  ]);
}
