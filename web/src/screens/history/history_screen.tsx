import { useMemo, useState } from "preact/hooks";
import { type Entry, loadStateAt, loadStory, type Story } from "../../api/history.ts";
import { useResource } from "../../api/resource.ts";
import { Button } from "../../components/button.tsx";
import { Page } from "../../components/page.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { showToast } from "../../components/toasts.tsx";
import { plural } from "../../format/text.ts";
import { formatExact } from "../../format/time.ts";
import { useScreenKeys } from "../../layout/keys.ts";
import { location, setQuery, url } from "../../router/location.ts";
import type { Parameters } from "../../router/routes.tsx";
import type { Moment } from "./axis.ts";
import { thingTitle } from "./kinds.ts";
import { StatePane } from "./state_pane.tsx";
import { entryTone } from "./story.ts";
import { StoryList } from "./story_list.tsx";
import { thingLink } from "./thing_link.ts";
import { TimeAxis } from "./time_axis.tsx";

/** The history of an object: its changes, and its state at any version. */
export default function HistoryScreen({ parameters }: { parameters: Parameters }) {
  const { kind = "", id = "" } = parameters;
  const stream = `${kind}-${id}`;
  const resource = useResource(`history-${stream}`, () => loadStory(kind, id), {
    refreshOn: (event) => event.stream === stream,
  });
  const title = thingTitle(kind, id);
  const parents = [{ name: "History", href: url("/history") }];
  const notFound = resource.error?.status === 404;
  return (
    <Page title={title} parents={parents} wide actions={<ThingLink kind={kind} id={id} />}>
      {notFound ? (
        <Empty icon="history" title={`No history of ${title}`}>
          <p>
            {resource.error?.message} Histories exist of every project, build, job, runner, user, company, secret,
            credential, executor, delivery and mail, also of deleted ones.
          </p>
        </Empty>
      ) : (
        <Loaded resource={resource}>{(story) => <TimeTravel key={stream} kind={kind} id={id} story={story} />}</Loaded>
      )}
    </Page>
  );
}

function ThingLink({ kind, id }: { kind: string; id: string }) {
  const link = thingLink(kind, id);
  if (!link) return null;
  return (
    <a class="button" href={link}>
      Open the {kind} as it is now
    </a>
  );
}

interface Props {
  kind: string;
  id: string;
  story: Story;
}

function TimeTravel({ kind, id, story }: Props) {
  const [older, setOlder] = useState<{ entries: Entry[]; next: number | null } | null>(null);
  const entries = useMemo(() => join(story.entries, older?.entries ?? []), [story, older]);
  const next = older ? older.next : story.next;
  const moments = useMemo<Moment[]>(
    () =>
      entries
        .map(({ version, at, events }) => ({ version, at, tone: entryTone(events.map(({ name }) => name)) }))
        .reverse(),
    [entries],
  );
  const asked = Number(location.value.query.get("v"));
  const latest = story.version;
  const version = asked >= 1 && asked < latest ? Math.floor(asked) : latest;
  const isPast = version < latest;
  const shown = entries.find((entry) => entry.version === version);
  const choose = (chosen: number) => {
    const bounded = Math.min(latest, Math.max(1, chosen));
    setQuery({ v: bounded === latest ? null : bounded });
  };
  useScreenKeys([
    { key: "h", does: "Previous version", run: () => choose(version - 1) },
    { key: "l", does: "Next version", run: () => choose(version + 1) },
    { key: "G", does: "Back to now", run: () => choose(latest) },
  ]);
  const loadOlder = async () => {
    if (next === null) return;
    const page = await loadStory(kind, id, next);
    setOlder({ entries: [...(older?.entries ?? []), ...page.entries], next: page.next });
  };
  return (
    <div class={isPast ? "time-travel past" : "time-travel"}>
      {isPast && (
        <p class="past-banner" role="status">
          <span>
            You look at <strong>version {version}</strong> of {latest}
            {shown && <>, {formatExact(shown.at)}</>}
          </span>
          <Button onClick={() => choose(latest)}>Back to now</Button>
        </p>
      )}
      <TimeAxis moments={moments} version={version} latest={latest} choose={choose} />
      <div class="travel-tools">
        <Button icon="up" label="Previous version (h)" disabled={version <= 1} onClick={() => choose(version - 1)} />
        <Button icon="down" label="Next version (l)" disabled={!isPast} onClick={() => choose(version + 1)} />
        <GoToTime kind={kind} id={id} choose={choose} />
        <span class="muted">{plural(latest, "version")}</span>
      </div>
      <div class="travel-columns">
        <StoryList entries={entries} version={version} choose={choose} hasOlder={next !== null} loadOlder={loadOlder} />
        <StatePane kind={kind} id={id} version={version} latest={latest} />
      </div>
    </div>
  );
}

/** Join two pages of entries, newest first. After a reload, the pages may overlap. */
function join(newer: Entry[], older: Entry[]): Entry[] {
  const last = newer.at(-1)?.version ?? Number.POSITIVE_INFINITY;
  return [...newer, ...older.filter(({ version }) => version < last)];
}

function GoToTime({ kind, id, choose }: { kind: string; id: string; choose: (version: number) => void }) {
  const go = async (text: string) => {
    if (!text) return;
    try {
      choose((await loadStateAt(kind, id, new Date(text))).version);
    } catch (error) {
      showToast(error instanceof Error ? error.message : String(error), "failure");
    }
  };
  return (
    <label class="go-to-time">
      As of
      <input type="datetime-local" step="1" onChange={({ currentTarget }) => void go(currentTarget.value)} />
    </label>
  );
}
