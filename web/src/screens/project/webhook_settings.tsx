import { useEffect, useState } from "preact/hooks";
import { loadWaitingDeliveries } from "../../api/deliveries.ts";
import { listDeliveries, renewSignatureKey } from "../../api/project_settings.ts";
import type { Project } from "../../api/projects.ts";
import { useResource } from "../../api/resource.ts";
import { isAdministrator } from "../../api/session.ts";
import { Button } from "../../components/button.tsx";
import { CopyField } from "../../components/copy.tsx";
import { ConfirmButton } from "../../components/dialog.tsx";
import { Section } from "../../components/page.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { sentence, shortSha } from "../../format/text.ts";
import { ApproveButton } from "../webhooks/approve_button.tsx";

const REVEALED_MS = 30_000;

/** URL and secret of the webhook, its last delivery (for administrators), and forks that wait for approval. */
export function WebhookSettings({ project, reload }: { project: Project; reload: () => void }) {
  return (
    <Section title="Webhook">
      <p>Add it at the forge to build on every push. GitHub needs the content type application/json.</p>
      <h3>Address</h3>
      <CopyField label="webhook URL" text={`${window.location.origin}/api/guest/webhooks/build/${project.id}`} />
      <h3>Secret</h3>
      <SignatureKey project={project} />
      {isAdministrator() && <LastDelivery projectId={project.id} />}
      {project.build_pull_requests === "forks" && <WaitingForks projectId={project.id} />}
      <ConfirmButton
        label="Replace the secret"
        title="Replace the secret?"
        confirm="Replace"
        action={() => replaceKey(project, reload)}
      >
        <p>Webhooks that are signed with the current secret are then rejected. Enter the new secret at the forge.</p>
      </ConfirmButton>
    </Section>
  );
}

async function replaceKey(project: Project, reload: () => void): Promise<string> {
  await renewSignatureKey(project.id);
  reload();
  return "Secret replaced";
}

function SignatureKey({ project }: { project: Project }) {
  const [isShown, setShown] = useState(false);
  useEffect(() => {
    if (!isShown) return;
    const timer = setTimeout(() => setShown(false), REVEALED_MS);
    return () => clearTimeout(timer);
  }, [isShown]);
  if (!project.signature_key) return <p class="muted">Only those who may change the project see its secret.</p>;
  if (isShown) return <CopyField label="secret" text={project.signature_key} />;
  return <Button onClick={() => setShown(true)}>Show for 30 seconds</Button>;
}

function LastDelivery({ projectId }: { projectId: number }) {
  const deliveries = useResource(`last-delivery-${projectId}`, () => listDeliveries(projectId, 1));
  const last = deliveries.data?.[0];
  if (!deliveries.data) return null;
  if (!last) return <p class="muted">No delivery has arrived yet.</p>;
  return (
    <p>
      Last delivery: <RelativeTime time={last.received_at} />, {sentence(last.decision).toLowerCase()}
      {last.reason && `: ${last.reason}`}
    </p>
  );
}

/** Commits of forks that wait for the approval of a maintainer. */
function WaitingForks({ projectId }: { projectId: number }) {
  const waiting = useResource(`waiting-deliveries-${projectId}`, () => loadWaitingDeliveries(projectId));
  if (!waiting.data?.length) return null;
  return (
    <>
      <h3>Forks that wait for approval</h3>
      <ul class="waiting-forks">
        {waiting.data.map((delivery) => (
          <li key={delivery.id}>
            <p>
              {delivery.pull_request?.title} <code>{shortSha(delivery.sha ?? "")}</code>
              {delivery.sender && ` of ${delivery.sender}`}, <RelativeTime time={delivery.received_at} />
            </p>
            <ApproveButton delivery={delivery} scope="developer" reload={waiting.reload} />
          </li>
        ))}
      </ul>
    </>
  );
}
