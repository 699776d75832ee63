/** The history of an object: its entries, and its state at any version; and the list of the changes of all objects. */
import { api, dataOf, type Schemas } from "./client.ts";

export type Entry = Schemas["HistoryEntry"];
export type State = Schemas["StreamState"];

export interface Story {
  version: number;
  /** Newest first. */
  entries: Entry[];
  /** `after` of the page with older entries; null: there are none. */
  next: number | null;
}

const PAGE = 1000;
const ACTIVITY_PAGE = 100;

export async function loadStory(kind: string, id: string, after: number | null = null): Promise<Story> {
  const query = { order_by: "DESC", per_page: String(PAGE), ...(after === null ? {} : { after: String(after) }) };
  const page = await dataOf(api.GET("/api/admin/history/{kind}/{id}", { params: { path: { kind, id }, query } }));
  return page as Schemas["History"];
}

const MAX_KEPT = 300; // number of cached states; they can be cached because the state at a version does not change
const kept = new Map<string, Promise<State>>();

/** The state of an object at a version. It is requested once and then cached. */
export function loadState(kind: string, id: string, version: number): Promise<State> {
  const key = `${kind}/${id}/${version}`;
  const known = kept.get(key);
  if (known) return known;
  const state = readState(kind, id, { version: String(version) });
  kept.set(key, state);
  state.catch(() => kept.delete(key));
  const oldest = kept.keys().next().value;
  if (kept.size > MAX_KEPT && oldest !== undefined) kept.delete(oldest);
  return state;
}

/** The state of an object at a time. */
export async function loadStateAt(kind: string, id: string, at: Date): Promise<State> {
  return await readState(kind, id, { at: at.toISOString() });
}

async function readState(kind: string, id: string, query: { version: string } | { at: string }): Promise<State> {
  const state = await dataOf(api.GET("/api/admin/history/{kind}/{id}", { params: { path: { kind, id }, query } }));
  return state as State;
}

export type ActivityEntry = Schemas["ActivityItem"];
export type Activity = Schemas["ActivityPage"];

export interface ActivityFilter {
  kind: string | null;
  actor: string | null;
  project: string | null;
  /** Trace id: only entries that one request caused. */
  trace: string | null;
  /** Only entries before this time. */
  until: string | null;
}

const MAX_EMPTY_PAGES = 10; // limit of a search; each page examines up to 10,000 entries of each service

/** The changes of all objects, newest first. Up to MAX_EMPTY_PAGES pages without matching entries are skipped. */
export async function loadActivity(filter: ActivityFilter, after: string | null = null): Promise<Activity> {
  const query = {
    ...(filter.kind && { kind: filter.kind }),
    ...(filter.actor && { actor: Number(filter.actor) }),
    ...(filter.project && { project: Number(filter.project) }),
    ...(filter.trace && { trace: filter.trace }),
    ...(filter.until && { until: filter.until }),
    limit: ACTIVITY_PAGE,
  };
  let next = after;
  for (let page = 1; ; page += 1) {
    const found = await dataOf(
      api.GET("/api/admin/activity", { params: { query: { ...query, ...(next && { after: next }) } } }),
    );
    if (found.entries.length > 0 || !found.next || page === MAX_EMPTY_PAGES) return found;
    next = found.next;
  }
}
