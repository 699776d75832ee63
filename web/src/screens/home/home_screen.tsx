import { type ListedBuild, listBuilds, listQueue, listRecentBuilds } from "../../api/builds.ts";
import { listProjects, type Project } from "../../api/projects.ts";
import { useResource } from "../../api/resource.ts";
import { getFleet } from "../../api/runners.ts";
import { isAdministrator } from "../../api/session.ts";
import { LinkButton } from "../../components/button.tsx";
import { Page, Section } from "../../components/page.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { StatusBadge } from "../../components/status_badge.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { isActive } from "../../format/status.ts";
import { formatRef, plural } from "../../format/text.ts";
import { url } from "../../router/location.ts";
import { BuildsTable } from "../shared/builds_table.tsx";
import { isAboutBuilds, isAboutRunners } from "../shared/live_filters.ts";

const MY_BUILDS = 8;
const LAST_BUILDS = 12;

interface Overview {
  projects: Project[];
  recent: Map<number, ListedBuild[]>;
}

async function loadProjects(): Promise<Overview> {
  const projects = await listProjects();
  return { projects, recent: await listRecentBuilds(projects.map(({ id }) => id).slice(0, 100), 10) };
}

/** The start page: numbers, broken projects, own builds and latest builds; without projects, the first steps. */
export default function HomeScreen() {
  const projects = useResource("home-projects", loadProjects, { refreshOn: isAboutBuilds });
  if (projects.data?.projects.length === 0) return <FirstSteps />;
  return (
    <Page title="Home">
      <Numbers />
      <Broken overview={projects} />
      <MyBuilds />
      <LastBuilds />
    </Page>
  );
}

function Numbers() {
  const queue = useResource("queue", listQueue, { refreshOn: isAboutBuilds });
  const fleet = useResource("fleet", getFleet, { refreshOn: isAboutRunners });
  const runners = fleet.data?.runners ?? [];
  const online = runners.filter((runner) => runner.online).length;
  const busy = runners.filter((runner) => runner.jobs.length > 0).length;
  const oldest = queue.data?.[0]?.queued_at;
  return (
    <ul class="tiles">
      <li>
        <a class="tile" href={url("/queue")}>
          <span class="tile-number">{queue.data?.length ?? "–"}</span>
          <span class="tile-name">{queue.data?.length === 1 ? "build waits" : "builds wait"}</span>
          <span class="tile-fact">
            {oldest ? (
              <>
                since <RelativeTime time={oldest} />
              </>
            ) : (
              "the queue is empty"
            )}
          </span>
        </a>
      </li>
      <li>
        <a class="tile" href={url("/runners")}>
          <span class="tile-number">{fleet.data ? busy : "–"}</span>
          <span class="tile-name">{busy === 1 ? "busy runner" : "busy runners"}</span>
          <span class="tile-fact">{fleet.data ? `${online} of ${plural(runners.length, "runner")} online` : ""}</span>
        </a>
      </li>
    </ul>
  );
}

function Broken({ overview }: { overview: ReturnType<typeof useResource<Overview>> }) {
  const { projects = [], recent = new Map<number, ListedBuild[]>() } = overview.data ?? {};
  let hasEnded = false;
  const broken = projects.flatMap((project) => {
    const ended = (recent.get(project.id) ?? []).filter(({ status }) => status === "SUCCESS" || status === "FAILED");
    hasEnded ||= ended.length > 0;
    const streak = ended.findIndex(({ status }) => status !== "FAILED");
    const failures = streak < 0 ? ended : ended.slice(0, streak);
    const first = failures.at(-1);
    return first && failures[0] ? [{ project, first, last: failures[0], count: failures.length }] : [];
  });
  if (!hasEnded) return null;
  if (broken.length === 0)
    return (
      <p class="notice tone-success">
        <StatusBadge status="SUCCESS" word="The last build of every project passed." />
      </p>
    );
  return (
    <Section title="Broken now">
      <ul class="broken">
        {broken.map(({ project, first, last, count }) => (
          <li key={project.id} data-row>
            <StatusBadge status="FAILED" compact />
            <a href={url(`/builds/${last.id}`)}>{project.name}</a>
            <span class="muted">
              since <RelativeTime time={first.completed_at} />
              {formatRef(first.ref) && `, ${formatRef(first.ref)}`}, by {first.initiator.name}
              {count > 1 && `, ${plural(count, "build")} in a row`}
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}

function MyBuilds() {
  const mine = useResource("my-builds", () => listBuilds({ initiator: "me", limit: MY_BUILDS }), {
    refreshOn: isAboutBuilds,
  });
  if (mine.data?.builds.length === 0) return null;
  return (
    <Section title="My builds">
      <Loaded resource={mine}>
        {({ builds }) => <BuildsTable builds={sorted(builds)} caption="My builds" withProject />}
      </Loaded>
    </Section>
  );
}

function LastBuilds() {
  const last = useResource("last-builds", () => listBuilds({ limit: LAST_BUILDS }), { refreshOn: isAboutBuilds });
  return (
    <Section title="Latest builds">
      <Loaded resource={last}>
        {({ builds }) =>
          builds.length ? (
            <BuildsTable builds={sorted(builds)} caption="Latest builds" withProject />
          ) : (
            <Empty icon="play" title="No builds yet">
              <p>
                Open a <a href={url("/projects")}>project</a> and launch its first build.
              </p>
            </Empty>
          )
        }
      </Loaded>
    </Section>
  );
}

/** Unfinished builds first, each group newest first. */
function sorted(builds: ListedBuild[]): ListedBuild[] {
  return [...builds.filter(({ status }) => isActive(status)), ...builds.filter(({ status }) => !isActive(status))];
}

function FirstSteps() {
  return (
    <Page title="Welcome to Headrace">
      <Empty icon="projects" title="Build your first project">
        <p>A project is a git repository with a file that describes how to build it.</p>
        {isAdministrator() ? (
          <LinkButton kind="primary" icon="plus" href={url("/projects", { new: true })}>
            New project
          </LinkButton>
        ) : (
          <p>Ask an administrator to create a project and to make you one of its members.</p>
        )}
      </Empty>
    </Page>
  );
}
