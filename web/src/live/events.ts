/** Live events for all components. One tab holds the connection for all tabs, except over plain HTTP. */
import { signal } from "@preact/signals";
import { openEventStream } from "./event_stream.ts";

export interface LiveEvent {
  at: string;
  type: string;
  /** The event stream of the changed object, like `build-17`. */
  stream: string;
  version: number;
  actor: { id: number; name: string } | null;
  trace_id: string | null;
  data: Record<string, unknown>;
}

export type LiveStatus = { state: "connecting" | "connected" | "offline"; since: number };
type Subscriber = (event: LiveEvent | null) => void;
type TabMessage = { event: LiveEvent } | { status: LiveStatus } | { question: "status" } | { reset: true };

const URL = "/api/events?envelope=1";
const REPUBLISHED = "Emptied";
const LOCK = "headrace-live-events";
const POLL_SECONDS = 30; // between reloads of data while the connection is lost

export const liveStatus = signal<LiveStatus>({ state: "connecting", since: Date.now() });
const subscribers = new Set<Subscriber>();
let isLeader = false;

/** Call the function with every event, and with null when events may have been missed. The result unsubscribes. */
export function subscribe(subscriber: Subscriber): () => void {
  subscribers.add(subscriber);
  return () => subscribers.delete(subscriber);
}

/** Receive events until the returned function is called. */
export function startLiveEvents(): () => void {
  const tabs = new BroadcastChannel(LOCK);
  const stopping = new AbortController();
  let close = () => {};
  tabs.onmessage = ({ data }: MessageEvent<TabMessage>) => {
    if ("event" in data) publish(data.event);
    else if ("reset" in data) publish(null);
    else if ("status" in data) liveStatus.value = data.status;
    else if (isLeader) tabs.postMessage({ status: liveStatus.peek() } satisfies TabMessage);
  };
  const share = (message: TabMessage) => tabs.postMessage(message);
  const lead = () =>
    new Promise<void>((resolve) => {
      isLeader = true;
      const closeStream = openConnection(share);
      close = () => {
        closeStream();
        resolve();
      };
      if (stopping.signal.aborted) close();
    });
  if (navigator.locks) {
    share({ question: "status" });
    navigator.locks.request(LOCK, { signal: stopping.signal }, lead).catch(() => {});
  } else void lead(); // plain HTTP has no locks: each tab has a connection
  const poll = setInterval(() => liveStatus.peek().state === "offline" && publish(null), POLL_SECONDS * 1000);
  return () => {
    stopping.abort();
    clearInterval(poll);
    close();
    isLeader = false;
    tabs.close();
  };
}

function openConnection(share: (message: TabMessage) => void): () => void {
  let wasConnected = false;
  const setStatus = (state: LiveStatus["state"]) => {
    if (liveStatus.peek().state === state) return;
    liveStatus.value = { state, since: Date.now() };
    share({ status: liveStatus.peek() });
  };
  return openEventStream(URL, {
    onOpen() {
      setStatus("connected");
      if (wasConnected) {
        publish(null);
        share({ reset: true });
      }
      wasConnected = true;
    },
    onEvent({ name, data }) {
      if (isRepublication(name)) {
        publish(null);
        share({ reset: true });
        return;
      }
      const event = readEvent(name, JSON.parse(data) as LiveEvent | Record<string, unknown>);
      publish(event);
      share({ event });
    },
    onClose(error) {
      setStatus("offline");
      return error?.status !== 401;
    },
  });
}

/** Return whether an event with this name is the marker that precedes a repetition of all events of a service. */
export function isRepublication(name: string): boolean {
  return name === REPUBLISHED;
}

/** Return the event in the form of LiveEvent. A gateway of release 0.2.0 sends only `data`, without an envelope. */
function readEvent(type: string, data: LiveEvent | Record<string, unknown>): LiveEvent {
  if ("stream" in data && "data" in data) return data as LiveEvent;
  const fields = data as Record<string, unknown>;
  const kind = ["job", "build", "runner"].find((name) => `${name}_id` in fields) ?? "runner";
  const stream = `${kind}-${fields[`${kind}_id`] ?? ""}`;
  return { at: new Date().toISOString(), type, stream, version: 0, actor: null, trace_id: null, data: fields };
}

function publish(event: LiveEvent | null): void {
  for (const subscriber of subscribers) subscriber(event);
}
