/** Notifications of a project: receivers of webhooks and chat messages, and the user's own mail rule. */
import { api, dataOf, type Schemas } from "./client.ts";

export type Receiver = Schemas["Receiver"];
export type MailRule = Schemas["MailRule"];

export interface ReceiverFields {
  kind: string;
  url: string;
  secret: string;
  events: string[];
  active: boolean;
}

const COLLECTION = "/api/developer/projects/{project_id}/receivers";
const ITEM = "/api/developer/projects/{project_id}/receivers/{receiver_id}";
const MAIL_RULE = "/api/user/projects/{project_id}/mail-rule";

/** The receivers of a project. For maintainers. */
export async function listReceivers(project_id: number): Promise<Receiver[]> {
  return await dataOf(api.GET(COLLECTION, { params: { path: { project_id } } }));
}

export async function createReceiver(project_id: number, receiver: Partial<ReceiverFields>): Promise<Receiver> {
  return await dataOf(
    api.POST(COLLECTION, { params: { path: { project_id } }, body: { receiver: { url: "", ...receiver } } }),
  );
}

export async function changeReceiver(
  { id, project_id }: Receiver,
  receiver: Partial<ReceiverFields>,
): Promise<Receiver> {
  const path = { project_id, receiver_id: id };
  return await dataOf(api.PATCH(ITEM, { params: { path }, body: { receiver } }));
}

export async function deleteReceiver({ id, project_id }: Receiver): Promise<void> {
  await api.DELETE(ITEM, { params: { path: { project_id, receiver_id: id } } });
}

/** Send the latest request to the receiver again. */
export async function repeatDelivery({ project_id, last_delivery }: Receiver): Promise<void> {
  const path = { project_id, outgoing_request_id: last_delivery?.id ?? "" };
  await api.POST("/api/developer/projects/{project_id}/outgoing-requests/{outgoing_request_id}/repeat", {
    params: { path },
  });
}

export async function getMailRule(project_id: number): Promise<MailRule> {
  return await dataOf(api.GET(MAIL_RULE, { params: { path: { project_id } } }));
}

export async function changeMailRule({ project_id, events, builds }: MailRule): Promise<MailRule> {
  return await dataOf(
    api.PATCH(MAIL_RULE, { params: { path: { project_id } }, body: { mail_rule: { events, builds } } }),
  );
}
