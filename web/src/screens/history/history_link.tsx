import { Icon } from "../../components/icons.tsx";
import { url } from "../../router/location.ts";

/** A link to the history of a thing. */
export function HistoryLink({ kind, id }: { kind: string; id: number | string }) {
  return (
    <a class="button quiet" href={url(`/history/${kind}/${id}`)}>
      <Icon name="history" />
      History
    </a>
  );
}

const HOUR_MS = 3_600_000; // the reactions to a request follow soon

/** The list of everything that the request did. The search starts shortly after the entry. */
export function requestLink(trace: string, at: string): string {
  return url("/history", { trace, until: new Date(Date.parse(at) + HOUR_MS).toISOString() });
}
