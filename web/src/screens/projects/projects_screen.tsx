import { useState } from "preact/hooks";
import { type ListedBuild, listRecentBuilds } from "../../api/builds.ts";
import { listProjects, type Project } from "../../api/projects.ts";
import { useResource } from "../../api/resource.ts";
import { isAdministrator } from "../../api/session.ts";
import { Button, LinkButton } from "../../components/button.tsx";
import { Page } from "../../components/page.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { StatusBadge } from "../../components/status_badge.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { useScreenKeys } from "../../layout/keys.ts";
import { location, setQuery, url } from "../../router/location.ts";
import { LaunchDialog } from "../launch/launch_dialog.tsx";
import { BuildBars } from "../shared/build_bars.tsx";
import { isAboutBuilds } from "../shared/live_filters.ts";
import { NewProjectDialog } from "./new_project_dialog.tsx";
import { isStarred, toggleStar } from "./stars.ts";

const MAX_RECENT = 100; // number of projects per request

interface Line {
  project: Project;
  builds: ListedBuild[];
}

async function loadLines(): Promise<Line[]> {
  const projects = await listProjects();
  const recent = new Map<number, ListedBuild[]>();
  for (let start = 0; start < projects.length; start += MAX_RECENT)
    for (const [id, builds] of await listRecentBuilds(projects.slice(start, start + MAX_RECENT).map(({ id }) => id)))
      recent.set(id, builds);
  return projects.map((project) => ({ project, builds: recent.get(project.id) ?? [] }));
}

/** All projects with the results of their last builds. */
export default function ProjectsScreen() {
  const lines = useResource("project-lines", loadLines, { refreshOn: isAboutBuilds });
  const [filter, setFilter] = useState("");
  const [launched, setLaunched] = useState<Project | null>(null);
  useScreenKeys([{ key: "/", does: "Filter projects", run: () => document.getElementById("project-filter")?.focus() }]);
  const isCreating = location.value.query.get("new") !== null;
  const columns: Column<Line>[] = [
    { name: "Star", kind: "actions", cell: ({ project }) => <Star id={project.id} name={project.name} /> },
    { name: "Project", kind: "wide", cell: ({ project }) => <ProjectLink project={project} /> },
    {
      name: "Last build",
      kind: "narrow",
      cell: ({ builds: [last] }) => (last ? <LastBuild build={last} /> : <StatusBadge status="NONE" />),
    },
    { name: "Last 30 builds", cell: ({ builds }) => <BuildBars builds={builds} /> },
    {
      name: "Actions",
      kind: "actions",
      cell: ({ project }) => (
        <Button icon="play" label={`Launch ${project.name}`} onClick={() => setLaunched(project)}>
          Launch
        </Button>
      ),
    },
  ];
  return (
    <Page
      title="Projects"
      actions={
        isAdministrator() && (
          <LinkButton kind="primary" icon="plus" href={url("/projects", { new: true })}>
            New project
          </LinkButton>
        )
      }
    >
      <Loaded resource={lines} rows={6}>
        {(all) =>
          all.length === 0 ? (
            <NoProjects />
          ) : (
            <>
              <input
                id="project-filter"
                class="filter"
                type="search"
                aria-label="Filter projects"
                placeholder="Filter projects"
                value={filter}
                onInput={({ currentTarget }) => setFilter(currentTarget.value)}
              />
              <Table
                caption="Projects"
                columns={columns}
                rows={select(all, filter)}
                rowKey={({ project }) => project.id}
              />
              {select(all, filter).length === 0 && <p class="muted">No project matches “{filter}”.</p>}
            </>
          )
        }
      </Loaded>
      {launched && <LaunchDialog project={launched} onClose={() => setLaunched(null)} />}
      {isCreating && <NewProjectDialog onClose={() => setQuery({ new: null })} />}
    </Page>
  );
}

function select(lines: Line[], filter: string): Line[] {
  const wanted = filter.trim().toLowerCase();
  const matching = lines.filter(({ project }) =>
    `${project.name} ${project.description ?? ""} ${project.repository}`.toLowerCase().includes(wanted),
  );
  return [
    ...matching.filter(({ project }) => isStarred(project.id)),
    ...matching.filter(({ project }) => !isStarred(project.id)),
  ];
}

function ProjectLink({ project }: { project: Project }) {
  return (
    <div class="build-link">
      <a href={url(`/projects/${project.id}`)}>{project.name}</a>
      <span class="facts">{project.description || project.repository}</span>
    </div>
  );
}

function LastBuild({ build }: { build: ListedBuild }) {
  return (
    <a class="last-build" href={url(`/builds/${build.id}`)}>
      <StatusBadge status={build.status} />
      <RelativeTime time={build.completed_at ?? build.created_at} />
    </a>
  );
}

function Star({ id, name }: { id: number; name: string }) {
  const starred = isStarred(id);
  return (
    <button
      type="button"
      class={starred ? "star on" : "star"}
      aria-pressed={starred}
      aria-label={`Star ${name}`}
      title={starred ? "Remove the star" : "Star: list first"}
      onClick={() => toggleStar(id)}
    >
      <svg viewBox="0 0 16 16" aria-hidden="true" focusable="false">
        <path d="M8 1.8l1.9 3.9 4.3.6-3.1 3 .7 4.3L8 11.6l-3.8 2 .7-4.3-3.1-3 4.3-.6z" />
      </svg>
    </button>
  );
}

function NoProjects() {
  return (
    <Empty icon="projects" title="No projects yet">
      <p>A project is a git repository with a file that describes how to build it.</p>
      {isAdministrator() ? (
        <LinkButton kind="primary" icon="plus" href={url("/projects", { new: true })}>
          New project
        </LinkButton>
      ) : (
        <p>Ask an administrator to create one, or to make you a member of a private project.</p>
      )}
    </Empty>
  );
}
