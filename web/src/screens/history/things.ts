/** Names of the types of objects, and the screens that show an object. */
import { url } from "../../router/location.ts";
import { splitWords } from "./story.ts";

const NAMES: Record<string, string> = {
  lane: "Concurrency group",
  notification: "Mail",
  outgoing: "Request to another server",
  user: "User",
};

/** Types whose histories can be looked up by the id of an object. */
export const KINDS = [
  "project",
  "build",
  "job",
  "runner",
  "user",
  "company",
  "secret",
  "credential",
  "executor",
  "schedule",
  "receiver",
  "delivery",
  "notification",
  "outgoing",
];

export function kindName(kind: string): string {
  return NAMES[kind] ?? splitWords(kind);
}

export function thingTitle(kind: string, id: string): string {
  const short = id.length > 12 && /^[0-9a-f-]+$/.test(id) ? id.slice(0, 8) : id;
  return `${kindName(kind)} ${short}`;
}

/** The screen with the current state of an object, if there is one. */
export function thingLink(kind: string, id: string): string | null {
  if (kind === "project" || kind === "build") return url(`/${kind}s/${id}`);
  if (kind === "user") return url(`/people/${id}`);
  return null;
}
