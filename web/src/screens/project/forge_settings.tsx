import { type Forge, forgeOf, listOutgoing, saveForge } from "../../api/project_settings.ts";
import type { Project } from "../../api/projects.ts";
import { useResource } from "../../api/resource.ts";
import { Form, SelectField, TextField } from "../../components/form.tsx";
import { Section } from "../../components/page.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { showToast } from "../../components/toasts.tsx";
import { useUnsavedChanges } from "../../components/unsaved_changes.ts";
import { sentence } from "../../format/text.ts";

/** The forge that shows the results of builds at their commits, and the result of the last request to it. */
export function ForgeSettings({ project, reload }: { project: Project; reload: () => void }) {
  const saved = forgeOf(project);
  const { changes, change, forget } = useUnsavedChanges<Forge>();
  const forge = { ...saved, ...changes };
  const submit = async () => {
    await saveForge(project.id, forge);
    forget(changes);
    reload();
    showToast("Forge saved");
  };
  return (
    <Section title="Commit statuses at the forge">
      <Form submit="Save" onSubmit={submit} disabled={JSON.stringify(forge) === JSON.stringify(saved)}>
        <SelectField
          label="Forge"
          hint="It shows the result of each build at its commit."
          value={forge.kind}
          options={[
            ["none", "None"],
            ["github", "GitHub"],
            ["gitlab", "GitLab"],
            ["gitea", "Gitea or Forgejo"],
          ]}
          onChange={(kind) => change({ kind })}
        />
        {forge.kind !== "none" && (
          <>
            <TextField
              label="Secret with the token"
              required
              hint="Name of a secret of this project"
              value={forge.secret}
              onInput={(secret) => change({ secret })}
            />
            <TextField
              label="URL of the API"
              hint="Empty: derived from the repository's URL"
              value={forge.api_url}
              onInput={(api_url) => change({ api_url })}
            />
          </>
        )}
      </Form>
      {saved.kind !== "none" && <LastRequest projectId={project.id} />}
    </Section>
  );
}

function LastRequest({ projectId }: { projectId: number }) {
  const requests = useResource(`last-outgoing-${projectId}`, () => listOutgoing(projectId, 1));
  const last = requests.data?.[0];
  if (!last?.requested_at) return null;
  return (
    <p>
      Last request: <RelativeTime time={last.requested_at} />, build {last.build_id}, {last.state},{" "}
      {sentence(last.status).toLowerCase()}
      {last.reason && `: ${last.reason}`}
    </p>
  );
}
