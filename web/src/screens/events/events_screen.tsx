import { useEffect, useRef, useState } from "preact/hooks";
import { listPeople } from "../../api/people.ts";
import { useResource } from "../../api/resource.ts";
import { isAdministrator, isMe } from "../../api/session.ts";
import { Button } from "../../components/button.tsx";
import { Page } from "../../components/page.tsx";
import { Empty } from "../../components/states.tsx";
import { Table } from "../../components/table.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { plural } from "../../format/text.ts";
import { useScreenKeys } from "../../layout/keys.ts";
import { openEventStream } from "../../live/event_stream.ts";
import { isRepublication, type LiveEvent } from "../../live/events.ts";
import { location, setQuery, url } from "../../router/location.ts";
import { kindName, thingTitle } from "../history/kinds.ts";
import { formatValue } from "../history/state_diff.ts";
import { eventFacts, splitWords } from "../history/story.ts";
import { thingLink } from "../history/thing_link.ts";
import { idOf, isShown, kindOf, MAX_EVENTS, withEvent } from "./event_filter.ts";

const FACTS = 3; // fields of an event that its row shows
const PERIODS: [minutes: string, text: string][] = [
  ["", "new events only"],
  ["10", "last 10 minutes"],
  ["60", "last hour"],
  ["1440", "last day"],
];

/** Live events and events of a recent period, with a filter and a button that pauses the list. */
export default function EventsScreen() {
  const { query } = location.value;
  const filter = { kind: query.get("kind") ?? "", text: query.get("text") ?? "" };
  const since = query.get("since") ?? "10";
  const { events, waiting, isPaused, pause, problem } = useEvents(since);
  useScreenKeys([{ key: "p", does: isPaused ? "Resume" : "Pause", run: () => pause(!isPaused) }]);
  const shown = events.filter((event) => isShown(event, filter));
  const kinds = [...new Set(events.map(kindOf))].sort();
  return (
    <Page
      title="Events"
      actions={
        <Button
          icon={isPaused ? "play" : "clock"}
          pressed={isPaused}
          title="Pause (p)"
          onClick={() => pause(!isPaused)}
        >
          {isPaused ? `Resume${waiting ? ` (${plural(waiting, "new event")})` : ""}` : "Pause"}
        </Button>
      }
    >
      <div class="filters">
        <input
          type="search"
          class="filter-text"
          aria-label="Filter events"
          placeholder="Event, object or user"
          value={filter.text}
          onInput={({ currentTarget }) => setQuery({ text: currentTarget.value })}
        />
        <select
          aria-label="Kind"
          value={filter.kind}
          onChange={({ currentTarget }) => setQuery({ kind: currentTarget.value })}
        >
          <option value="">All types</option>
          {[...new Set([...kinds, ...(filter.kind ? [filter.kind] : [])])].map((kind) => (
            <option key={kind} value={kind}>
              {kindName(kind)}
            </option>
          ))}
        </select>
        <select
          aria-label="Period"
          value={since}
          onChange={({ currentTarget }) => setQuery({ since: currentTarget.value || "now" })}
        >
          {PERIODS.map(([minutes, text]) => (
            <option key={minutes} value={minutes || "now"}>
              {text}
            </option>
          ))}
        </select>
        <span class="muted">
          {shown.length === MAX_EVENTS ? `the last ${MAX_EVENTS}` : plural(shown.length, "event")}
        </span>
      </div>
      {problem && (
        <p class="notice tone-warning" role="status">
          {problem}
        </p>
      )}
      {shown.length ? (
        <EventTable events={shown} />
      ) : (
        <Empty icon="events" title={events.length ? "No event matches the filter" : "Waiting for the next event"}>
          <p>
            {events.length
              ? "Remove the text or choose all types."
              : "Events of builds, jobs and runners appear here within a second. Launch a build to see some."}
          </p>
        </Empty>
      )}
    </Page>
  );
}

/** The events of the last `since` minutes and new ones, newest first. While paused, new ones are counted, not shown. */
function useEvents(since: string) {
  const [events, setEvents] = useState<LiveEvent[]>([]);
  const [isPaused, setPaused] = useState(false);
  const [waiting, setWaiting] = useState(0);
  const [problem, setProblem] = useState<string | null>(null);
  const buffer = useRef<LiveEvent[]>([]);
  const paused = useRef(false);
  const unseen = useRef(0);
  useEffect(() => {
    buffer.current = [];
    setEvents([]);
    const parameters = new URLSearchParams({ envelope: "1" });
    const minutes = Number(since);
    if (minutes > 0) parameters.set("since", new Date(Date.now() - minutes * 60_000).toISOString());
    let frame = 0;
    const close = openEventStream(`/api/events?${parameters}`, {
      onOpen: () => setProblem(null),
      onEvent: ({ name, data }) => {
        if (isRepublication(name)) return;
        const event = JSON.parse(data) as LiveEvent;
        if (typeof event.stream !== "string") {
          setProblem("This server sends events without the name of their object. Upgrade the server.");
          return;
        }
        buffer.current = withEvent(buffer.current, event);
        if (paused.current) unseen.current += 1;
        if (frame) return;
        frame = requestAnimationFrame(() => {
          frame = 0;
          if (paused.current) setWaiting(unseen.current);
          else setEvents(buffer.current);
        });
      },
      onClose: (error) => {
        setProblem(error ? error.message : "The connection was lost. Reconnecting.");
        return error === null || error.status >= 500 || error.status === 429;
      },
    });
    return () => {
      close();
      cancelAnimationFrame(frame);
    };
  }, [since]);
  const pause = (isOn: boolean) => {
    paused.current = isOn;
    setPaused(isOn);
    unseen.current = 0;
    setWaiting(0);
    if (!isOn) setEvents(buffer.current);
  };
  return { events, waiting, isPaused, pause, problem };
}

function EventTable({ events }: { events: LiveEvent[] }) {
  const people = useResource(isAdministrator() ? "people" : null, listPeople);
  const names = new Map(people.data?.map(({ id, username }) => [id, username]));
  return (
    <Table
      caption="Events"
      rows={events}
      rowKey={({ stream, version, type }) => `${stream}/${version}/${type}`}
      columns={[
        {
          name: "Event",
          kind: "wide",
          cell: ({ type, data }) => (
            <div class="build-link">
              <strong>{splitWords(type)}</strong>
              <span class="facts one-line">
                {eventFacts(data)
                  .filter(([, value]) => typeof value !== "object")
                  .slice(0, FACTS)
                  .map(([name, value]) => (
                    <span key={name}>
                      {name}: {formatValue(value).slice(0, 60)}
                    </span>
                  ))}
              </span>
            </div>
          ),
        },
        { name: "Of", kind: "narrow", cell: (event) => <ThingAtThatMoment event={event} /> },
        { name: "By", kind: "narrow", cell: ({ actor }) => <ActorName actor={actor} names={names} /> },
        { name: "When", kind: "narrow", cell: ({ at }) => <RelativeTime time={at} /> },
      ]}
    />
  );
}

/** The actor of an event. Events contain the names of runners and of the system, but only the numbers of users. */
function ActorName({ actor, names }: { actor: LiveEvent["actor"]; names: Map<number, string> }) {
  if (actor?.name) return <span>{actor.name}</span>;
  if (actor?.id) return <span>{names.get(actor.id) ?? (isMe(actor.id) ? "you" : `user ${actor.id}`)}</span>;
  return <span class="muted">the system</span>;
}

/** A link to the object: for administrators to its state after the event, for others to its current page. */
function ThingAtThatMoment({ event }: { event: LiveEvent }) {
  const kind = kindOf(event);
  const id = idOf(event);
  const title = thingTitle(kind, id);
  const href = isAdministrator() ? url(`/history/${kind}/${id}`, { v: event.version }) : thingLink(kind, id);
  return href ? <a href={href}>{title}</a> : <span>{title}</span>;
}
