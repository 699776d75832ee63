/** A table of builds, used on the project's page and in lists of all builds. */
import type { ListedBuild } from "../../api/builds.ts";
import { Icon } from "../../components/icons.tsx";
import { StatusBadge } from "../../components/status_badge.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { Duration, RelativeTime } from "../../components/times.tsx";
import { formatRef, shortSha } from "../../format/text.ts";
import { url } from "../../router/location.ts";

interface Props {
  builds: ListedBuild[];
  caption: string;
  withProject?: boolean;
}

export function BuildsTable({ builds, caption, withProject = false }: Props) {
  const columns: Column<ListedBuild>[] = [
    { name: "Status", kind: "narrow", cell: ({ status }) => <StatusBadge status={status} /> },
    { name: "Build", kind: "wide", cell: (build) => <BuildLink build={build} withProject={withProject} /> },
    { name: "Started by", kind: "narrow", cell: (build) => <Initiator build={build} /> },
    {
      name: "Took",
      kind: "number",
      cell: ({ started_at, completed_at }) => <Duration start={started_at} end={completed_at} />,
    },
    { name: "Queued", kind: "number", cell: ({ created_at }) => <RelativeTime time={created_at} /> },
  ];
  return <Table caption={caption} columns={columns} rows={builds} rowKey={({ id }) => id} />;
}

export function BuildLink({ build, withProject }: { build: ListedBuild; withProject: boolean }) {
  return (
    <div class="build-link">
      <a href={url(`/builds/${build.id}`)}>
        {withProject ? `${build.project_name} ` : ""}#{build.local_id ?? build.id}
        {build.message && <span class="message"> {build.message.split("\n", 1)[0]}</span>}
      </a>
      <span class="facts">
        {build.ref && (
          <span>
            <Icon name="branch" /> {formatRef(build.ref)}
          </span>
        )}
        {build.sha && (
          <span>
            <Icon name="commit" /> <code>{shortSha(build.sha)}</code>
          </span>
        )}
        {build.exit_message && <span class="reason">{build.exit_message}</span>}
      </span>
    </div>
  );
}

const SOURCES: Record<string, string> = {
  push: "pushed",
  web: "launched",
  api: "over the API",
  schedule: "on schedule",
};

export function Initiator({ build }: { build: Pick<ListedBuild, "initiator" | "source"> }) {
  return (
    <span title={SOURCES[build.source] ?? build.source}>
      {build.initiator.name} <span class="muted">{SOURCES[build.source] ?? build.source}</span>
    </span>
  );
}
