/** The list of live events: which of them are shown, and how many are kept. */
import type { LiveEvent } from "../../live/events.ts";

export const MAX_EVENTS = 500;

export interface EventFilter {
  /** Type of the thing, like `build`; empty: all. */
  kind: string;
  /** Part of the name of an event, a thing or a person. */
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

/** Insert an event by its time, newest first, and drop the oldest ones. An event that is known changes nothing. */
export function withEvent(events: LiveEvent[], event: LiveEvent): LiveEvent[] {
  const isKnown = events.some(
    ({ stream, version, type }) => stream === event.stream && version === event.version && type === event.type,
  );
  if (isKnown) return events;
  const olderIndex = events.findIndex(({ at }) => at <= event.at); // stored events of two services arrive mixed
  return events.toSpliced(olderIndex < 0 ? events.length : olderIndex, 0, event).slice(0, MAX_EVENTS);
}
