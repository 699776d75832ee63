/** Titles, colors and facts of the entries of a history. */
import type { Tone } from "../../format/status.ts";
import { flatten, isBlank } from "./state_diff.ts";

/** `Rename project` for `RenameProject`. */
export function splitWords(name: string): string {
  const words = name.replace(/([a-z0-9])([A-Z])/g, "$1 $2").replace(/([A-Z])([A-Z][a-z])/g, "$1 $2");
  return words.charAt(0).toUpperCase() + words.slice(1).toLowerCase();
}

/** The color of an entry, by the kind of its events: creation, change, access, end or failure. */
export function entryTone(events: readonly string[]): Tone {
  const names = events.join(" ");
  if (/(Deleted|Removed|Revoked|Unregistered|Killed|Canceled|Finished|Sent)\b/.test(names)) return "neutral";
  if (/(Failed|Lost|Refused|Abandoned)\b/.test(names)) return "failure";
  if (/(Created|Added|Registered|Queued|Received|Requested)\b/.test(names)) return "success";
  if (/(Read|Revealed|Viewed)\b/.test(names)) return "waiting";
  return "running";
}

export const TONE_WORDS: [Tone, string][] = [
  ["success", "created"],
  ["running", "changed"],
  ["waiting", "viewed"],
  ["neutral", "ended"],
  ["failure", "failed"],
];

/** The title of an entry: its events, or its command if the event stands for many kinds of changes. */
export function entryTitle(command: string, events: readonly string[]): string {
  const [only] = events;
  if (only === undefined || (events.length === 1 && /(SettingsChanged|Edited)$/.test(only))) return splitWords(command);
  return [...new Set(events)].map(splitWords).join(", ");
}

/** The fields of an event, without those that are blank, 0 or false: in some events, such a field did not change. */
export function eventFacts(data: Record<string, unknown>): [name: string, value: unknown][] {
  return Object.entries(flatten(data)).filter(([, value]) => !isBlank(value) && value !== 0 && value !== false);
}
