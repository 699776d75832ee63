/** The form of a receiver: its initial values, and what is sent. */
import type { Receiver, ReceiverFields } from "../../api/notifications.ts";

export const EVENTS: [event: string, label: string][] = [
  ["started", "A build starts"],
  ["finished", "A build ends, with any result"],
  ["failed", "A build fails"],
  ["fixed", "A build succeeds after a failure on the same branch"],
];

/** The values of the form; null: for a new receiver. URL and secret are never shown. */
export function inputOf(receiver: Receiver | null): ReceiverFields {
  return {
    kind: receiver?.kind ?? "webhook",
    url: "",
    secret: "",
    events: receiver ? [...receiver.events] : ["failed", "fixed"],
    active: receiver?.active ?? true,
  };
}

/** The fields to send. An empty URL or secret is left out: an existing receiver keeps its value. */
export function fieldsOf(input: ReceiverFields, isNew: boolean): Partial<ReceiverFields> {
  const { kind, events, active } = input;
  const url = input.url.trim();
  const secret = kind === "webhook" ? input.secret : "";
  return {
    events,
    active,
    ...(isNew ? { kind } : {}),
    ...(url ? { url } : {}),
    ...(secret ? { secret } : {}),
  };
}
