import { useState } from "preact/hooks";
import { createProject, listExecutors } from "../../api/projects.ts";
import { useResource } from "../../api/resource.ts";
import { Dialog } from "../../components/dialog.tsx";
import { CheckBox, Form, SelectField, TextField } from "../../components/form.tsx";
import { Loaded } from "../../components/states.tsx";
import { showToast } from "../../components/toasts.tsx";
import { navigate, url } from "../../router/location.ts";
import { LimitFields, type Retention } from "../project/limit_fields.tsx";

/** The form that creates a project. Afterwards, the project's page shows the next steps. */
export function NewProjectDialog({ onClose }: { onClose: () => void }) {
  const executors = useResource("executors", listExecutors);
  return (
    <Dialog title="New project" onClose={onClose}>
      <Loaded resource={executors}>
        {(found) => (
          <NewProjectForm executors={found.map(({ id, name, driver }) => [String(id), `${name} (${driver})`])} />
        )}
      </Loaded>
    </Dialog>
  );
}

function NewProjectForm({ executors }: { executors: [string, string][] }) {
  const [name, setName] = useState("");
  const [repository, setRepository] = useState("");
  const [branch, setBranch] = useState("main");
  const [specFile, setSpecFile] = useState(".free-commit.yaml");
  const [executor, setExecutor] = useState(executors[0]?.[0] ?? "");
  const [isPrivate, setPrivate] = useState(false);
  const [retention, setRetention] = useState<Partial<Retention>>({});
  const submit = async () => {
    const project = await createProject({
      name,
      repository,
      branch,
      spec_file_path: specFile,
      executor_id: Number(executor),
      allow_concurrent_execution: false,
      developers_id: [],
      secrets_id: [],
      visibility: isPrivate ? "private" : "internal",
      ...retention,
    });
    showToast(`Project ${project.name} created`);
    navigate(url(`/projects/${project.id}`));
  };
  return (
    <Form submit="Create project" onSubmit={submit} disabled={!name || !repository || !branch}>
      <TextField label="Name" required autofocus value={name} onInput={setName} />
      <TextField
        label="Repository"
        required
        placeholder="https://github.com/owner/repository.git"
        hint="URL for git clone. A private repository needs a credential, which is selected in the project's settings."
        value={repository}
        onInput={(value) => {
          setRepository(value);
          if (!name || name === nameOf(repository)) setName(nameOf(value));
        }}
      />
      <div class="field-row">
        <TextField
          label="Branch"
          required
          hint="Pushes to it start builds. * builds every branch."
          value={branch}
          onInput={setBranch}
        />
        <TextField
          label="Pipeline file"
          required
          hint="Path in the repository"
          value={specFile}
          onInput={setSpecFile}
        />
      </div>
      {executors.length > 1 && (
        <SelectField label="Executor" value={executor} options={executors} onChange={setExecutor} />
      )}
      <CheckBox
        label="Private"
        hint="Only members, the owner and administrators see the project."
        checked={isPrivate}
        onChange={setPrivate}
      />
      <details
        class="more-fields"
        onInvalidCapture={({ currentTarget }) => {
          currentTarget.open = true; // because the browser cannot show an error of a hidden field
        }}
      >
        <summary>How long to keep builds, logs and artifacts</summary>
        <LimitFields retention={retention} change={(changed) => setRetention({ ...retention, ...changed })} />
      </details>
    </Form>
  );
}

function nameOf(repository: string): string {
  return /([^/:]+?)(?:\.git)?\/?$/.exec(repository)?.[1] ?? "";
}
