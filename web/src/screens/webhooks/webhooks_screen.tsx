import { useState } from "preact/hooks";
import type { ListedBuild } from "../../api/builds.ts";
import { type Deliveries, type Delivery, loadDeliveries, loadDelivery } from "../../api/deliveries.ts";
import { useResource } from "../../api/resource.ts";
import { Button } from "../../components/button.tsx";
import { StatusShape } from "../../components/icons.tsx";
import { Page } from "../../components/page.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { StatusBadge } from "../../components/status_badge.tsx";
import { Table } from "../../components/table.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { formatBytes, formatRef, plural, shortSha } from "../../format/text.ts";
import { location, setQuery, url } from "../../router/location.ts";
import { HistoryLink } from "../history/history_link.tsx";
import { isAboutProject } from "../shared/live_filters.ts";
import { ApproveButton } from "./approve_button.tsx";
import { decisionStyle, remedy } from "./decision.ts";

const PAGE = 50;
const MAX_SHOWN = 500;
const FORGES = { github: "GitHub", gitlab: "GitLab" };

/** Webhook deliveries with the decision about each. */
export default function WebhooksScreen() {
  const { query } = location.value;
  const projectId = query.get("project") ? Number(query.get("project")) : null;
  const decision = query.get("decision") ?? "";
  const delivery = query.get("delivery");
  const [count, setCount] = useState(PAGE);
  const resource = useResource(
    JSON.stringify(["deliveries", delivery, projectId, decision, count]),
    () => (delivery ? loadDelivery(delivery) : loadDeliveries(projectId, decision, count)),
    // the list of all projects is many requests, so it is reloaded only by its button
    { refreshOn: projectId === null ? undefined : isAboutProject(projectId) },
  );
  return (
    <Page
      title="Webhooks"
      actions={
        <Button icon="retry" onClick={resource.reload}>
          Refresh
        </Button>
      }
    >
      <Loaded resource={resource}>
        {(data) => (
          <>
            {delivery ? (
              <p class="filters">
                <span class="tag">
                  one delivery <a href={url("/webhooks")}>show all</a>
                </span>
              </p>
            ) : (
              <Filters projects={data.projects} projectId={projectId} decision={decision} />
            )}
            {data.deliveries.length ? (
              <DeliveryTable {...data} reload={resource.reload} />
            ) : (
              <NoDeliveries isFiltered={decision !== ""} />
            )}
            {data.hasMore &&
              (projectId === null ? (
                <p class="more hint">
                  These are the last deliveries of each project. Choose a project to see older ones.
                </p>
              ) : (
                count < MAX_SHOWN && (
                  <p class="more">
                    <Button onClick={() => setCount(count + PAGE)}>Show more</Button>
                  </p>
                )
              ))}
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Filters({
  projects,
  projectId,
  decision,
}: {
  projects: Deliveries["projects"];
  projectId: number | null;
  decision: string;
}) {
  return (
    <div class="filters">
      <label>
        <span class="visually-hidden">Project</span>
        <select value={projectId ?? ""} onChange={({ currentTarget }) => setQuery({ project: currentTarget.value })}>
          <option value="">All projects</option>
          {projects.map(({ id, name }) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label>
        <span class="visually-hidden">Decision</span>
        <select value={decision} onChange={({ currentTarget }) => setQuery({ decision: currentTarget.value })}>
          <option value="">All decisions</option>
          <option value="ACCEPTED">Started a build</option>
          <option value="WAITING">Waits for approval</option>
          <option value="IGNORED">Ignored</option>
          <option value="REFUSED">Refused</option>
        </select>
      </label>
    </div>
  );
}

function NoDeliveries({ isFiltered }: { isFiltered: boolean }) {
  if (isFiltered) return <Empty icon="webhook" title="No delivery was decided so" />;
  return (
    <Empty icon="webhook" title="No webhook deliveries yet">
      <p>
        A webhook tells Headrace of every push. Its address and secret are in the settings of each{" "}
        <a href={url("/projects")}>project</a>; enter them at GitHub or GitLab. Every delivery is shown here with what
        was decided and why, also a refused one.
      </p>
    </Empty>
  );
}

function DeliveryTable({ deliveries, projects, builds, reload }: Deliveries & { reload: () => void }) {
  return (
    <Table
      caption="Deliveries"
      rows={deliveries}
      rowKey={({ id }) => id}
      columns={[
        {
          name: "Decision",
          kind: "wide",
          cell: (delivery) => <DecisionCell delivery={delivery} build={builds.get(delivery.id)} />,
        },
        {
          name: "Project",
          cell: ({ project_id }) => (
            <a href={url(`/projects/${project_id}`)}>
              {projects.find(({ id }) => id === project_id)?.name ?? project_id}
            </a>
          ),
        },
        {
          name: "Event",
          cell: ({ provider, event, ref, sha, body_size }) => (
            <div class="build-link">
              <span>
                {provider ? FORGES[provider] : "unknown forge"} {event}
              </span>
              <span class="facts">
                <span>{formatRef(ref)}</span>
                {sha && <code>{shortSha(sha)}</code>}
                <span>{formatBytes(body_size)}</span>
              </span>
            </div>
          ),
        },
        { name: "Sender", cell: ({ sender }) => sender ?? <span class="muted">–</span> },
        { name: "Received", kind: "narrow", cell: ({ received_at }) => <RelativeTime time={received_at} /> },
        {
          name: "Actions",
          kind: "actions",
          cell: (delivery) => (
            <>
              {delivery.decision === "WAITING" && <ApproveButton delivery={delivery} scope="admin" reload={reload} />}
              <HistoryLink kind="delivery" id={delivery.id} />
            </>
          ),
        },
      ]}
    />
  );
}

function DecisionCell({ delivery, build }: { delivery: Delivery; build: ListedBuild | undefined }) {
  const { word, tone, shape } = decisionStyle(delivery);
  const advice = remedy(delivery);
  return (
    <div class="build-link">
      <span class={`status tone-${tone}`}>
        <StatusShape shape={shape} />
        <span class="word">{word}</span>
      </span>
      <span class="facts">{delivery.reason}</span>
      {build && (
        <span class="facts">
          <a href={url(`/builds/${build.id}`)}>Build #{build.local_id ?? build.id}</a>
          <StatusBadge status={build.status} />
        </span>
      )}
      {advice && <span class="facts advice">{advice}</span>}
      {delivery.unrecorded > 0 && (
        <span class="facts">
          and {plural(delivery.unrecorded, "more like it", "more like it")} that were not recorded
        </span>
      )}
    </div>
  );
}
