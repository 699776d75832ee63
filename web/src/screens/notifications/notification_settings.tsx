import { useState } from "preact/hooks";
import { deleteReceiver, listReceivers, type Receiver, repeatDelivery } from "../../api/notifications.ts";
import type { Project } from "../../api/projects.ts";
import { useResource } from "../../api/resource.ts";
import { ActionButton, Button } from "../../components/button.tsx";
import { ConfirmButton } from "../../components/dialog.tsx";
import { Section } from "../../components/page.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { url } from "../../router/location.ts";
import { ReceiverDialog } from "./receiver_dialog.tsx";

/** The receivers of a project's notifications, with the latest request to each. */
export function NotificationSettings({ project }: { project: Project }) {
  const receivers = useResource(`receivers-${project.id}`, () => listReceivers(project.id));
  const [edited, setEdited] = useState<Receiver | "new" | null>(null);
  const rows = receivers.data ?? [];
  return (
    <Section
      title="Webhooks and chat messages"
      aside={
        receivers.data && (
          <Button icon="plus" onClick={() => setEdited("new")}>
            New receiver
          </Button>
        )
      }
    >
      {receivers.data && rows.length === 0 && (
        <p>A receiver gets a webhook or a chat message about builds of this project.</p>
      )}
      {rows.length > 0 && (
        <Table caption="Receivers" columns={columns(setEdited, receivers.reload)} rows={rows} rowKey={({ id }) => id} />
      )}
      {receivers.error && <p>{receivers.error.message}</p>}
      {edited && (
        <ReceiverDialog
          projectId={project.id}
          receiver={edited === "new" ? null : edited}
          onClose={() => setEdited(null)}
          reload={receivers.reload}
        />
      )}
    </Section>
  );
}

function columns(edit: (receiver: Receiver) => void, reload: () => void): Column<Receiver>[] {
  return [
    {
      name: "Receiver",
      cell: (receiver) => (
        <div class="build-link">
          <button type="button" class="row-link" onClick={() => edit(receiver)}>
            {receiver.server}
          </button>
          <span class="facts">
            <span>{receiver.kind === "slack" ? "chat" : "webhook"}</span>
            <span>{receiver.active ? receiver.events.join(", ") : "paused"}</span>
          </span>
        </div>
      ),
    },
    { name: "Last request", cell: (receiver) => <LastDelivery receiver={receiver} /> },
    { name: "Actions", kind: "actions", cell: (receiver) => <Actions receiver={receiver} reload={reload} /> },
  ];
}

/** A request is `requested` also while it waits for another attempt; `reason` is the failure of the previous one. */
const OUTCOMES: Record<string, string> = {
  sent: "received",
  requested: "waiting to be sent",
  skipped: "not sent",
  gave_up: "abandoned",
};

function LastDelivery({ receiver: { last_delivery } }: { receiver: Receiver }) {
  if (!last_delivery) return <>none</>;
  const { build_id, status, reason, requested_at } = last_delivery;
  return (
    <>
      <RelativeTime time={requested_at} />, <a href={url(`/builds/${build_id}`)}>build {build_id}</a>:{" "}
      {OUTCOMES[status] ?? status}
      {status !== "sent" && reason && <div class="field-error">{reason}</div>}
    </>
  );
}

function Actions({ receiver, reload }: { receiver: Receiver; reload: () => void }) {
  const repeat = async () => {
    await repeatDelivery(receiver);
    reload();
    return "The request is sent again";
  };
  const remove = async () => {
    await deleteReceiver(receiver);
    reload();
    return "Receiver deleted";
  };
  return (
    <>
      {receiver.last_delivery && receiver.last_delivery.status !== "requested" && (
        <ActionButton kind="quiet" action={repeat}>
          Send again
        </ActionButton>
      )}
      <ConfirmButton label="Delete" kind="quiet" title={`Delete ${receiver.server}?`} confirm="Delete" action={remove}>
        <p>Its URL and secret are deleted.</p>
      </ConfirmButton>
    </>
  );
}
