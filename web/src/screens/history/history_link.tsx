import { Icon } from "../../components/icons.tsx";
import { url } from "../../router/location.ts";

/** A link to the history of an object. */
export function HistoryLink({ kind, id }: { kind: string; id: number | string }) {
  return (
    <a class="button quiet" href={url(`/history/${kind}/${id}`)}>
      <Icon name="history" />
      History
    </a>
  );
}

const HOUR_MS = 3_600_000; // reactions to a request are recorded well within this time

/** Return the URL of the list of all changes that a request caused, up to one hour after the entry. */
export function requestLink(trace: string, at: string): string {
  return url("/history", { trace, until: new Date(Date.parse(at) + HOUR_MS).toISOString() });
}
