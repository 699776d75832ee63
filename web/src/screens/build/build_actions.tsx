import { useState } from "preact/hooks";
import { cancelBuild, deleteBuild, type Overview, retryBuild, setPriority } from "../../api/builds.ts";
import { isAdministrator } from "../../api/session.ts";
import { ActionButton, Button, runAction } from "../../components/button.tsx";
import { ConfirmButton, Dialog } from "../../components/dialog.tsx";
import { Form, TextField } from "../../components/form.tsx";
import { useScreenKeys } from "../../layout/keys.ts";
import { navigate, url } from "../../router/location.ts";

/** The actions on a build: retry and cancel; for administrators also change the priority and delete. */
export function BuildActions({ build, reload }: { build: Overview; reload: () => void }) {
  const [isChanging, setChanging] = useState(false);
  const [isCanceling, setCanceling] = useState(false);
  const canRetry = build.finished && build.status !== "SUCCESS" && build.jobs.length > 0;
  const retry = async () => {
    await retryBuild(build.id);
    reload();
    return "The failed jobs are queued again";
  };
  const cancel = async () => {
    await cancelBuild(build);
    reload();
    return `Build ${build.id} is being canceled`;
  };
  useScreenKeys([
    ...(canRetry ? [{ key: "R", does: "Retry failed jobs", run: () => void runAction(retry) }] : []),
    ...(build.finished ? [] : [{ key: "A", does: "Cancel the build", run: () => setCanceling(true) }]),
  ]);
  return (
    <>
      {canRetry && (
        <ActionButton kind="primary" icon="retry" title="Run the failed and canceled jobs again (R)" action={retry}>
          Retry
        </ActionButton>
      )}
      {!build.finished && isAdministrator() && <Button onClick={() => setChanging(true)}>Priority</Button>}
      {!build.finished && build.status !== "CANCELING" && (
        <Button icon="cancel" title="Cancel (A)" onClick={() => setCanceling(true)}>
          Cancel
        </Button>
      )}
      {build.finished && isAdministrator() && (
        <ConfirmButton
          label="Delete"
          title={`Delete build ${build.local_id}?`}
          kind="danger"
          confirm="Delete"
          action={() => remove(build)}
        >
          <p>Its logs and artifacts are deleted. This cannot be undone.</p>
        </ConfirmButton>
      )}
      {isCanceling && (
        <Dialog title={`Cancel build ${build.local_id}?`} onClose={() => setCanceling(false)}>
          <p class="dialog-body">Running jobs are stopped. Their cleanup steps still run.</p>
          <div class="form-buttons">
            <ActionButton kind="primary" action={() => cancel().finally(() => setCanceling(false))}>
              Cancel build
            </ActionButton>
            <Button onClick={() => setCanceling(false)}>Keep running</Button>
          </div>
        </Dialog>
      )}
      {isChanging && <PriorityDialog build={build} reload={reload} onClose={() => setChanging(false)} />}
    </>
  );
}

async function remove(build: Overview): Promise<string> {
  await deleteBuild(build.id);
  navigate(url(`/projects/${build.project.id}`));
  return `Build ${build.local_id} deleted`;
}

function PriorityDialog({ build, reload, onClose }: { build: Overview; reload: () => void; onClose: () => void }) {
  const [priority, setValue] = useState(String(build.priority));
  const submit = async () => {
    await setPriority(build.id, Number(priority));
    reload();
    onClose();
  };
  return (
    <Dialog title="Priority" onClose={onClose}>
      <Form submit="Set priority" onSubmit={submit}>
        <TextField
          label="Priority"
          type="number"
          min={-100}
          max={100}
          required
          hint="-100 to 100. Builds with a higher priority start first; the default is 0."
          value={priority}
          onInput={setValue}
        />
      </Form>
    </Dialog>
  );
}
