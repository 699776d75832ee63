import { useState } from "preact/hooks";
import { type BuildPage, type BuildStatus, type ListedBuild, listBuilds } from "../../api/builds.ts";
import type { Project } from "../../api/projects.ts";
import { useResource } from "../../api/resource.ts";
import { ActionButton, Button } from "../../components/button.tsx";
import { CopyField } from "../../components/copy.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { location, setQuery } from "../../router/location.ts";
import { PlanCheck } from "../launch/plan_view.tsx";
import { BuildsTable } from "../shared/builds_table.tsx";
import { isAboutProject } from "../shared/live_filters.ts";

const PAGE_SIZE = 30;
const STATUSES: [value: string, text: string, statuses: BuildStatus[]][] = [
  ["", "All results", []],
  ["failed", "Failed", ["FAILED"]],
  ["passed", "Passed", ["SUCCESS"]],
  ["unfinished", "Waiting or running", ["QUEUED", "PLANNED", "RUNNING", "CANCELING"]],
  ["canceled", "Canceled", ["KILLED"]],
];

interface Props {
  project: Project;
  launch: () => void;
}

/** The builds of a project, newest first, with filters for their result and for the user's own builds. */
export function ProjectBuilds({ project, launch }: Props) {
  const { query } = location.value;
  const result = query.get("result") ?? "";
  const initiator = query.get("by") ?? "";
  const filter = {
    project: [project.id],
    status: STATUSES.find(([value]) => value === result)?.[2] ?? [],
    initiator: initiator || null,
    limit: PAGE_SIZE,
  };
  const key = JSON.stringify(filter);
  const first = useResource(key, () => listBuilds(filter), { refreshOn: isAboutProject(project.id) });
  return (
    <>
      <div class="filters">
        <select
          aria-label="Result"
          value={result}
          onChange={({ currentTarget }) => setQuery({ result: currentTarget.value })}
        >
          {STATUSES.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
        </select>
        <label class="check-box inline">
          <input
            type="checkbox"
            checked={initiator === "me"}
            onChange={({ currentTarget }) => setQuery({ by: currentTarget.checked ? "me" : null })}
          />
          <span>Only mine</span>
        </label>
      </div>
      <Loaded resource={first} rows={8}>
        {(page) => {
          if (page.builds.length) return <BuildList key={key} first={page} filter={filter} />;
          return result || initiator ? (
            <p class="muted">No build matches this filter.</p>
          ) : (
            <NoBuilds project={project} launch={launch} />
          );
        }}
      </Loaded>
    </>
  );
}

function BuildList({ first, filter }: { first: BuildPage; filter: Parameters<typeof listBuilds>[0] }) {
  const [older, setOlder] = useState<ListedBuild[]>([]);
  const [next, setNext] = useState<string | null | undefined>(undefined);
  const cursor = next === undefined ? first.next : next;
  const known = new Set(first.builds.map(({ id }) => id));
  const builds = [...first.builds, ...older.filter(({ id }) => !known.has(id))];
  const loadMore = async () => {
    const page = await listBuilds({ ...filter, after: cursor ?? "" });
    setOlder([...older, ...page.builds]);
    setNext(page.next);
    return undefined;
  };
  return (
    <>
      <BuildsTable builds={builds} caption="Builds" />
      {cursor && (
        <p class="more">
          <ActionButton action={loadMore}>Show older builds</ActionButton>
        </p>
      )}
    </>
  );
}

function NoBuilds({ project, launch }: Props) {
  return (
    <Empty icon="play" title="No builds yet">
      <p>First check that the repository can be read and contains the pipeline file:</p>
      <PlanCheck project={project} branch={null} label="Check the repository" />
      <p>
        Launch a build of <code>{project.branch}</code> now:
      </p>
      <Button kind="primary" icon="play" onClick={launch}>
        Launch
      </Button>
      <p>
        To build every push, add this webhook at GitHub or GitLab. Its secret is the signature key in the project's
        settings.
      </p>
      <CopyField label="webhook URL" text={`${window.location.origin}/api/guest/webhooks/build/${project.id}`} />
    </Empty>
  );
}
