/** The list of live events: the filter that decides which are shown, and the limit of their number. */
import type { LiveEvent } from "../../live/events.ts";

export const MAX_EVENTS = 500;

export interface EventFilter {
  /** Type of object, like `build`. Empty: all. */
  kind: string;
  /** Text in the name of the event, its object or its actor, regardless of case. */
  text: string;
}

export function kindOf({ stream }: LiveEvent): string {
  return stream.slice(0, stream.indexOf("-"));
}

export function idOf({ stream }: LiveEvent): string {
  return stream.slice(stream.indexOf("-") + 1);
}

export function isShown(event: LiveEvent, { kind, text }: EventFilter): boolean {
  if (kind && kindOf(event) !== kind) return false;
  const wanted = text.trim().toLowerCase();
  return !wanted || `${event.type} ${event.stream} ${event.actor?.name ?? ""}`.toLowerCase().includes(wanted);
}

/** Insert an event by its time, newest first, and drop the oldest ones beyond the limit. A duplicate is ignored. */
export function withEvent(events: LiveEvent[], event: LiveEvent): LiveEvent[] {
  const isKnown = events.some(
    ({ stream, version, type }) => stream === event.stream && version === event.version && type === event.type,
  );
  if (isKnown) return events;
  // stored events of several services do not arrive in order of time
  const olderIndex = events.findIndex(({ at }) => at <= event.at);
  return events.toSpliced(olderIndex < 0 ? events.length : olderIndex, 0, event).slice(0, MAX_EVENTS);
}
