import { useState } from "preact/hooks";
import { changeReceiver, createReceiver, type Receiver, type ReceiverFields } from "../../api/notifications.ts";
import { Dialog } from "../../components/dialog.tsx";
import { CheckBox, Form, SelectField, TextField } from "../../components/form.tsx";
import { showToast } from "../../components/toasts.tsx";
import { EVENTS, fieldsOf, inputOf } from "./receiver_form.ts";

interface Props {
  projectId: number;
  /** The receiver to change; null creates one. */
  receiver: Receiver | null;
  onClose: () => void;
  reload: () => void;
}

/** A dialog that creates or changes a receiver. */
export function ReceiverDialog({ projectId, receiver, onClose, reload }: Props) {
  const [input, setInput] = useState(() => inputOf(receiver));
  const change = (changed: Partial<ReceiverFields>) => setInput({ ...input, ...changed });
  const submit = async () => {
    const fields = fieldsOf(input, !receiver);
    if (receiver) await changeReceiver(receiver, fields);
    else await createReceiver(projectId, fields);
    showToast(receiver ? "Receiver saved" : "Receiver created");
    reload();
    onClose();
  };
  const unchanged = receiver ? "Empty: unchanged." : "";
  return (
    <Dialog title={receiver ? `Change ${receiver.server}` : "New receiver"} onClose={onClose}>
      <Form submit={receiver ? "Save" : "Create"} onSubmit={submit}>
        {!receiver && (
          <SelectField
            label="Kind"
            value={input.kind}
            options={[
              ["webhook", "Webhook: signed CloudEvents"],
              ["slack", "Chat message: Slack or Mattermost"],
            ]}
            onChange={(kind) => change({ kind })}
          />
        )}
        <TextField
          label="URL"
          required={!receiver}
          hint={`It is never shown again. ${unchanged}`}
          placeholder="https://"
          autocapitalize="none"
          autocomplete="off"
          spellcheck={false}
          value={input.url}
          onInput={(url) => change({ url })}
        />
        {input.kind === "webhook" && (
          <TextField
            label="Secret"
            type="password"
            required={!receiver}
            hint={`Signs the webhooks: 16 characters or more. ${unchanged}`}
            autocomplete="new-password"
            value={input.secret}
            onInput={(secret) => change({ secret })}
          />
        )}
        {EVENTS.map(([event, label]) => (
          <CheckBox
            key={event}
            label={label}
            checked={input.events.includes(event)}
            onChange={(checked) =>
              change({
                events: checked ? [...input.events, event] : input.events.filter((name) => name !== event),
              })
            }
          />
        ))}
        <CheckBox
          label="Active"
          hint="Nothing is sent to a paused receiver."
          checked={input.active}
          onChange={(active) => change({ active })}
        />
      </Form>
    </Dialog>
  );
}
