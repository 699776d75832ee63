/** Scopes of access tokens. Each allows reading or writing one type of object. */
export interface ScopeGroup {
  name: string;
  about: string;
  scopes: [scope: string, word: string][];
}

export const SCOPE_GROUPS: ScopeGroup[] = [
  {
    name: "Projects",
    about: "settings, webhooks, members",
    scopes: [
      ["PROJECT_READ", "read"],
      ["PROJECT_EDIT", "change settings"],
      ["PROJECT_WRITE", "create and delete"],
    ],
  },
  { name: "Builds", about: "builds, jobs, logs, artifacts", scopes: readAndWrite("BUILD", "launch, retry, cancel") },
  { name: "Runners", about: "runners and their registration", scopes: readAndWrite("RUNNER") },
  { name: "Secrets", about: "secrets and credentials", scopes: readAndWrite("SECRET") },
  { name: "Users", about: "accounts and keys", scopes: readAndWrite("USER") },
  { name: "Companies", about: "companies and members", scopes: readAndWrite("COMPANY") },
  { name: "Server", about: "history, configuration, mails", scopes: readAndWrite("SERVER") },
  { name: "Events", about: "the live stream of events", scopes: [["EVENT_READ", "read"]] },
];

function readAndWrite(kind: string, write = "change"): [string, string][] {
  return [
    [`${kind}_READ`, "read"],
    [`${kind}_WRITE`, write],
  ];
}

/** Return the scopes of a token as text. A token without scopes has all rights of its user. */
export function scopeSentence(scopes: readonly string[]): string {
  if (scopes.length === 0) return "Everything its user may do";
  const parts = SCOPE_GROUPS.flatMap(({ name, scopes: all }) => {
    const words = all.filter(([scope]) => scopes.includes(scope)).map(([, word]) => word);
    return words.length ? [`${name.toLowerCase()}: ${words.join(", ")}`] : [];
  });
  const known = SCOPE_GROUPS.flatMap(({ scopes: all }) => all.map(([scope]) => scope));
  return [...parts, ...scopes.filter((scope) => !known.includes(scope))].join("; ");
}

/** Return whether the last valid day of a token, in UTC, has passed. */
export function isExpired(expiresAt: string | null, now = Date.now()): boolean {
  return expiresAt !== null && expiresAt < new Date(now).toISOString().slice(0, 10);
}
