import { useState } from "preact/hooks";
import { addKey, deleteKey, listKeys } from "../../api/people.ts";
import { useResource } from "../../api/resource.ts";
import { ConfirmButton } from "../../components/dialog.tsx";
import { Form, TextArea, TextField } from "../../components/form.tsx";
import { Section } from "../../components/page.tsx";
import { Loaded } from "../../components/states.tsx";
import { showToast } from "../../components/toasts.tsx";

/** The public SSH keys of a user. */
export function PersonKeys({ username }: { username: string }) {
  const keys = useResource(`keys-${username}`, () => listKeys(username));
  const [title, setTitle] = useState("");
  const [key, setKey] = useState("");
  const submit = async () => {
    await addKey(username, title, key.trim());
    setTitle("");
    setKey("");
    keys.reload();
    showToast(`Key ${title} added`);
  };
  return (
    <Section title="SSH keys">
      <Loaded resource={keys} rows={1}>
        {(listed) => (
          <ul class="plain-list">
            {listed.map(({ uuid, title: name, publicKey, expiresAt }) => (
              <li key={uuid}>
                <span class="plain-list-text">
                  {name} <code class="muted">{publicKey.split(" ").slice(0, 2).join(" ").slice(0, 40)}…</code>
                  {expiresAt && <span class="muted"> until {expiresAt}</span>}
                </span>
                <ConfirmButton
                  label="Remove"
                  kind="quiet"
                  title={`Remove ${name}?`}
                  confirm="Remove"
                  action={async () => {
                    await deleteKey(username, uuid);
                    keys.reload();
                    return `Key ${name} removed`;
                  }}
                >
                  <p>The key is no longer accepted.</p>
                </ConfirmButton>
              </li>
            ))}
            {listed.length === 0 && <li class="muted">No keys</li>}
          </ul>
        )}
      </Loaded>
      <details>
        <summary>Add a key</summary>
        <Form submit="Add key" onSubmit={submit} disabled={!title || !key}>
          <TextField label="Title" placeholder="laptop" value={title} onInput={setTitle} />
          <TextArea
            label="Public key"
            rows={3}
            placeholder="ssh-ed25519 AAAA… name@host"
            value={key}
            onInput={setKey}
          />
        </Form>
      </details>
    </Section>
  );
}
