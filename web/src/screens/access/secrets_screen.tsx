import { useState } from "preact/hooks";
import { listSecrets, type Secret } from "../../api/job_access.ts";
import { listProjects } from "../../api/projects.ts";
import { useResource } from "../../api/resource.ts";
import { Button } from "../../components/button.tsx";
import { Page } from "../../components/page.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { Table } from "../../components/table.tsx";
import { HistoryLink } from "../history/history_link.tsx";
import { AccessTabs } from "./access_tabs.tsx";
import { SecretDialog } from "./secret_dialog.tsx";

async function load() {
  const [secrets, projects] = await Promise.all([listSecrets(), listProjects()]);
  return { secrets, projects };
}

/** All secrets. Their values are shown on request only. */
export default function SecretsScreen() {
  const resource = useResource("secrets", load);
  const [edited, setEdited] = useState<Secret | "new" | null>(null);
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setEdited("new")}>
      New secret
    </Button>
  );
  return (
    <Page title="Secrets" actions={add}>
      <AccessTabs selected="Secrets" />
      <Loaded resource={resource}>
        {({ secrets, projects }) => (
          <>
            {secrets.length ? (
              <Table
                caption="Secrets"
                rows={secrets}
                rowKey={({ id }) => id}
                columns={[
                  {
                    name: "Name",
                    kind: "wide",
                    cell: (secret) => (
                      <button type="button" class="row-link" onClick={() => setEdited(secret)}>
                        <code>{secret.name}</code>
                      </button>
                    ),
                  },
                  {
                    name: "Projects",
                    cell: ({ projects_id }) => (
                      <Scope names={projects_id.map((id) => projects.find((one) => one.id === id)?.name ?? `${id}`)} />
                    ),
                  },
                  { name: "Environment", cell: ({ env }) => env ?? <span class="muted">–</span> },
                  {
                    name: "Actions",
                    kind: "actions",
                    cell: (secret) => (
                      <>
                        <HistoryLink kind="secret" id={secret.id} />
                        <Button kind="quiet" onClick={() => setEdited(secret)}>
                          Open
                        </Button>
                      </>
                    ),
                  },
                ]}
              />
            ) : (
              <Empty icon="key" title="No secrets yet">
                <p>
                  A secret is a value that jobs receive as an environment variable, such as a password of a registry.
                  Values are stored encrypted, and logs hide values of four or more characters.
                </p>
                {add}
              </Empty>
            )}
            {edited && (
              <SecretDialog
                secret={edited === "new" ? null : edited}
                projects={projects}
                onClose={() => setEdited(null)}
                reload={resource.reload}
              />
            )}
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Scope({ names }: { names: string[] }) {
  if (names.length === 0) return <span title="None if its last project was deleted">all projects</span>;
  const [first, ...others] = names;
  return (
    <span title={names.join(", ")}>
      {first}
      {others.length > 0 && <span class="muted"> and {others.length} more</span>}
    </span>
  );
}
