/** The types of objects, by which their histories are listed and looked up. */
import { splitWords } from "./story.ts";

interface Kind {
  name: string;
  /** What identifies an object of the type in its history. */
  id: string;
}

/** The types of objects that have a history. The keys are the types in the names of streams. */
export const KINDS: Record<string, Kind> = {
  project: { name: "Project", id: "Number" },
  build: { name: "Build", id: "Number" },
  job: { name: "Job", id: "Number" },
  lane: { name: "Concurrency group", id: "Number of the project" },
  runner: { name: "Runner", id: "Number or UUID" },
  registration: { name: "Registration token", id: "Scope, like project-84" },
  user: { name: "User", id: "Number or UUID" },
  membership: { name: "Projects of a user", id: "Number of the user" },
  company: { name: "Company", id: "Number" },
  secret: { name: "Secret", id: "Number" },
  credential: { name: "Credential", id: "Number" },
  executor: { name: "Executor", id: "Number" },
  schedule: { name: "Schedule", id: "Number" },
  receiver: { name: "Receiver", id: "Number" },
  mailrule: { name: "Mail rule", id: "Project-user, like 84-3" },
  delivery: { name: "Delivery", id: "UUID" },
  notification: { name: "Mail", id: "UUID" },
  outgoing: { name: "Request to another server", id: "UUID" },
};

export function kindName(kind: string): string {
  return KINDS[kind]?.name ?? splitWords(kind);
}

export function thingTitle(kind: string, id: string): string {
  const short = id.length > 12 && /^[0-9a-f-]+$/.test(id) ? id.slice(0, 8) : id;
  return `${kindName(kind)} ${short}`;
}
