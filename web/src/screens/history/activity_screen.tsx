import { useState } from "preact/hooks";
import { type Activity, type ActivityEntry, type ActivityFilter, loadActivity } from "../../api/history.ts";
import { listPeople } from "../../api/people.ts";
import { listProjects } from "../../api/projects.ts";
import { toApiError, useResource } from "../../api/resource.ts";
import { ActionButton } from "../../components/button.tsx";
import { StatusShape } from "../../components/icons.tsx";
import { Page } from "../../components/page.tsx";
import { Empty, ErrorState, Loading } from "../../components/states.tsx";
import { Table } from "../../components/table.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { location, navigate, setQuery, url } from "../../router/location.ts";
import { requestLink } from "./history_link.tsx";
import { KINDS, thingTitle } from "./kinds.ts";
import { entryTitle, entryTone } from "./story.ts";

const KIND_NAMES = Object.entries(KINDS).map(([kind, { name }]): Option => [kind, name]);

/** The changes of all objects, newest first, with links to the history of each object. */
export default function ActivityScreen() {
  const { query } = location.value;
  const filter = {
    kind: query.get("kind"),
    actor: query.get("actor"),
    project: query.get("project"),
    trace: query.get("trace"),
    until: query.get("until"),
  };
  const key = JSON.stringify(["activity", filter]);
  const first = useResource(key, () => loadActivity(filter));
  const [older, setOlder] = useState<(Activity & { key: string }) | null>(null);
  const added = older?.key === key ? older : null;
  const entries = [...(first.data?.entries ?? []), ...(added?.entries ?? [])];
  const next = added ? added.next : (first.data?.next ?? null);
  const loadOlder = async () => {
    const page = await loadActivity(filter, next);
    setOlder({ key, entries: [...(added?.entries ?? []), ...page.entries], next: page.next });
    return undefined;
  };
  const isFiltered = Object.values(filter).some(Boolean);
  return (
    <Page title="History">
      <div class="filters">
        <LookUp />
        <Filters filter={filter} />
      </div>
      {first.error && !first.data ? (
        <ErrorState error={toApiError(first.error)} retry={first.reload} />
      ) : first.data ? (
        <ActivityTable entries={entries} isFiltered={isFiltered} hasMore={next !== null} />
      ) : (
        <Loading />
      )}
      {next && (
        <p class="more">
          <ActionButton action={loadOlder}>Show older</ActionButton>
        </p>
      )}
    </Page>
  );
}

function Filters({ filter }: { filter: ActivityFilter }) {
  const projects = useResource("projects", listProjects);
  const people = useResource("people", listPeople);
  return (
    <>
      <Choice label="Kind" name="kind" value={filter.kind} all="All types" options={KIND_NAMES} />
      <Choice
        label="By"
        name="actor"
        value={filter.actor}
        all="By everyone"
        options={[
          ["0", "runners and the system"],
          ...(people.data ?? []).map(({ id, username }): Option => [String(id), username]),
        ]}
      />
      <Choice
        label="Project"
        name="project"
        value={filter.project}
        all="All projects"
        options={(projects.data ?? []).map(({ id, name }): Option => [String(id), name])}
      />
      {filter.trace && (
        <span class="tag">
          one request <a href={url("/history", { kind: filter.kind })}>show all</a>
        </span>
      )}
    </>
  );
}

type Option = [value: string, name: string];

interface ChoiceProps {
  label: string;
  name: string;
  value: string | null;
  all: string;
  options: Option[];
}

function Choice({ label, name, value, all, options }: ChoiceProps) {
  const isKnown = !value || options.some(([each]) => each === value);
  return (
    <select
      aria-label={label}
      value={value ?? ""}
      onChange={({ currentTarget }) => setQuery({ [name]: currentTarget.value })}
    >
      <option value="">{all}</option>
      {!isKnown && <option value={value}>{value}</option>}
      {options.map(([each, title]) => (
        <option key={each} value={each}>
          {title}
        </option>
      ))}
    </select>
  );
}

function LookUp() {
  const [kind, setKind] = useState("project");
  const [id, setId] = useState("");
  const go = (event: Event) => {
    event.preventDefault();
    if (id.trim()) navigate(url(`/history/${kind}/${encodeURIComponent(id.trim())}`));
  };
  return (
    <form class="look-up" onSubmit={go}>
      <select aria-label="Type of object" value={kind} onChange={({ currentTarget }) => setKind(currentTarget.value)}>
        {KIND_NAMES.map(([each, name]) => (
          <option key={each} value={each}>
            {name}
          </option>
        ))}
      </select>
      <input
        type="search"
        aria-label={KINDS[kind]?.id}
        placeholder={KINDS[kind]?.id}
        value={id}
        onInput={({ currentTarget }) => setId(currentTarget.value)}
      />
      <button type="submit" class="button">
        Look up
      </button>
    </form>
  );
}

interface TableProps {
  entries: ActivityEntry[];
  isFiltered: boolean;
  hasMore: boolean;
}

function ActivityTable({ entries, isFiltered, hasMore }: TableProps) {
  if (entries.length === 0)
    return (
      <Empty icon="history" title={isFiltered ? "Nothing found" : "Nothing has happened yet"}>
        <p>
          {hasMore
            ? "None of the entries searched so far match. Select “Show older” to search further."
            : "Every change is recorded with its time and the user who made it."}
        </p>
      </Empty>
    );
  return (
    <Table
      caption="Activity"
      rows={entries}
      rowKey={({ kind, id, version }) => `${kind}-${id}/${version}`}
      columns={[
        {
          name: "What",
          kind: "wide",
          cell: ({ events, command }) => {
            const names = events.map(({ name }) => name);
            return (
              <span class={`activity-what tone-${entryTone(names)}`}>
                <StatusShape shape="dot" /> {entryTitle(command, names)}
              </span>
            );
          },
        },
        {
          name: "Of",
          kind: "narrow",
          cell: ({ kind, id, version }) => (
            <a href={url(`/history/${kind}/${id}`, { v: version })}>{thingTitle(kind, id)}</a>
          ),
        },
        { name: "By", kind: "narrow", cell: ({ actor }) => actor.name || "the system" },
        { name: "When", kind: "narrow", cell: ({ at }) => <RelativeTime time={at} /> },
        {
          name: "Request",
          kind: "narrow",
          cell: ({ trace_id, at }) =>
            trace_id && (
              <a href={requestLink(trace_id, at)} title="Show all changes of this request">
                Same request
              </a>
            ),
        },
      ]}
    />
  );
}
