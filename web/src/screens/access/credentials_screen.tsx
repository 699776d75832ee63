import { useState } from "preact/hooks";
import {
  type Credential,
  createCredential,
  deleteCredential,
  listCredentials,
  readCredential,
  saveCredential,
} from "../../api/job_access.ts";
import { useResource } from "../../api/resource.ts";
import { Button } from "../../components/button.tsx";
import { ConfirmButton, Dialog } from "../../components/dialog.tsx";
import { Form, TextArea, TextField } from "../../components/form.tsx";
import { Page } from "../../components/page.tsx";
import { Reveal } from "../../components/reveal.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { Table } from "../../components/table.tsx";
import { showToast } from "../../components/toasts.tsx";
import { HistoryLink } from "../history/history_link.tsx";
import { AccessTabs } from "./access_tabs.tsx";

/** SSH keys with which repositories are read. */
export default function CredentialsScreen() {
  const resource = useResource("credentials", listCredentials);
  const [edited, setEdited] = useState<Credential | "new" | null>(null);
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setEdited("new")}>
      New credential
    </Button>
  );
  return (
    <Page title="Credentials" actions={add}>
      <AccessTabs selected="Credentials" />
      <Loaded resource={resource}>
        {(credentials) =>
          credentials.length ? (
            <Table
              caption="Credentials"
              rows={credentials}
              rowKey={({ id }) => id}
              columns={[
                {
                  name: "Name",
                  kind: "wide",
                  cell: (credential) => (
                    <button type="button" class="row-link" onClick={() => setEdited(credential)}>
                      {credential.name}
                    </button>
                  ),
                },
                {
                  name: "Actions",
                  kind: "actions",
                  cell: (credential) => (
                    <>
                      <HistoryLink kind="credential" id={credential.id} />
                      <Button kind="quiet" onClick={() => setEdited(credential)}>
                        Open
                      </Button>
                    </>
                  ),
                },
              ]}
            />
          ) : (
            <Empty icon="key" title="No credentials yet">
              <p>
                A credential is the private SSH key with which Headrace reads a private repository. Create a key pair
                for each repository, add the public key at the forge as a deploy key, and the private key here. Then
                choose the credential in the settings of the project.
              </p>
              {add}
            </Empty>
          )
        }
      </Loaded>
      {edited && (
        <CredentialDialog
          credential={edited === "new" ? null : edited}
          onClose={() => setEdited(null)}
          reload={resource.reload}
        />
      )}
    </Page>
  );
}

interface DialogProps {
  credential: Credential | null;
  onClose: () => void;
  reload: () => void;
}

function CredentialDialog({ credential, onClose, reload }: DialogProps) {
  const [name, setName] = useState(credential?.name ?? "");
  const [key, setKey] = useState("");
  const submit = async () => {
    try {
      if (credential) await saveCredential(credential, name, key);
      else await createCredential(name, key);
      showToast(credential ? `${name} saved` : `${name} created`);
      onClose();
    } finally {
      reload();
    }
  };
  return (
    <Dialog title={credential ? credential.name : "New credential"} wide onClose={onClose}>
      {credential && <Reveal label="key" load={() => readCredential(credential.id)} />}
      <Form
        submit={credential ? "Save" : "Create"}
        onSubmit={submit}
        buttons={
          credential && (
            <ConfirmButton
              label="Delete"
              kind="danger"
              title={`Delete ${credential.name}?`}
              confirm="Delete"
              action={async () => {
                await deleteCredential(credential.id);
                reload();
                onClose();
                return `${credential.name} deleted`;
              }}
            >
              <p>Projects that use it must get another credential first. The key cannot be restored.</p>
            </ConfirmButton>
          )
        }
      >
        <TextField label="Name" required autofocus={!credential} value={name} onInput={setName} />
        <TextArea
          label={credential ? "New private key" : "Private key"}
          rows={6}
          placeholder="-----BEGIN OPENSSH PRIVATE KEY-----"
          hint={
            credential ? "Leave it empty to keep the current key." : "Without a passphrase. It is stored encrypted."
          }
          value={key}
          onInput={setKey}
        />
      </Form>
    </Dialog>
  );
}
