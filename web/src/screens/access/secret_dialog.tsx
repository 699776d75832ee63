import { useState } from "preact/hooks";
import { createSecret, deleteSecret, readSecret, type Secret, saveSecret } from "../../api/job_access.ts";
import type { Project } from "../../api/projects.ts";
import { Choice } from "../../components/choice.tsx";
import { ConfirmButton, Dialog } from "../../components/dialog.tsx";
import { Form, TextArea, TextField } from "../../components/form.tsx";
import { Reveal } from "../../components/reveal.tsx";
import { showToast } from "../../components/toasts.tsx";

interface Props {
  /** The secret to change; null creates one. */
  secret: Secret | null;
  projects: Project[];
  onClose: () => void;
  reload: () => void;
}

export function SecretDialog({ secret, projects, onClose, reload }: Props) {
  const [name, setName] = useState(secret?.name ?? "");
  const [value, setValue] = useState("");
  const [env, setEnv] = useState(secret?.env ?? "");
  const [chosen, setChosen] = useState(secret?.projects_id ?? []);
  const submit = async () => {
    const fields = { name, value, env, projects: chosen };
    try {
      const notice = secret ? await saveSecret(secret, fields) : await createSecret(fields);
      showToast(notice || (secret ? `${name} saved` : `${name} created`));
      onClose();
    } finally {
      reload();
    }
  };
  return (
    <Dialog title={secret ? secret.name : "New secret"} wide onClose={onClose}>
      {secret && <Reveal label="value" load={() => readSecret(secret.id)} />}
      <Form
        submit={secret ? "Save" : "Create"}
        onSubmit={submit}
        buttons={
          secret && (
            <ConfirmButton
              label="Delete"
              kind="danger"
              title={`Delete ${secret.name}?`}
              confirm="Delete"
              action={async () => {
                await deleteSecret(secret.id);
                reload();
                onClose();
                return `${secret.name} deleted`;
              }}
            >
              <p>Builds that start from now on do not receive it. Its value cannot be restored.</p>
            </ConfirmButton>
          )
        }
      >
        <TextField
          label="Name"
          required
          autofocus={!secret}
          spellcheck={false}
          hint="The environment variable in jobs: letters, digits and underscores."
          value={name}
          onInput={setName}
        />
        <TextArea
          label={secret ? "New value" : "Value"}
          hint={secret ? "Leave it empty to keep the current value." : "Logs hide values of four or more characters."}
          rows={3}
          value={value}
          onInput={setValue}
        />
        <Choice
          legend="Projects"
          hint="Without a project it is available to all. If its last project was deleted, it is available to none."
          options={projects.map((project) => ({ value: project.id, name: project.name }))}
          chosen={chosen}
          onChange={setChosen}
          none="There are no projects yet."
        />
        <TextField
          label="Environment"
          hint="A label of your own, such as production. It has no effect."
          value={env}
          onInput={setEnv}
        />
      </Form>
    </Dialog>
  );
}
