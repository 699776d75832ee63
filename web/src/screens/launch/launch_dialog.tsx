import { useState } from "preact/hooks";
import { launchBuild } from "../../api/builds.ts";
import type { Project } from "../../api/projects.ts";
import { Dialog } from "../../components/dialog.tsx";
import { CheckBox, Form, TextField } from "../../components/form.tsx";
import { showToast } from "../../components/toasts.tsx";
import { navigate, url } from "../../router/location.ts";
import { PlanCheck } from "./plan_view.tsx";

/** A dialog that launches a build of a project and then shows the build. */
export function LaunchDialog({ project, onClose }: { project: Project; onClose: () => void }) {
  const [branch, setBranch] = useState("");
  const [skipped, setSkipped] = useState<ReadonlySet<string>>(new Set());
  const toggle = (step: string, runs: boolean) => {
    const changed = new Set(skipped);
    if (runs) changed.delete(step);
    else changed.add(step);
    setSkipped(changed);
  };
  const submit = async () => {
    const launched = await launchBuild(project.id, { ignore_steps: [...skipped], ref: branch.trim() || null });
    showToast(`Build ${launched.build_id} of ${project.name} launched`);
    onClose();
    navigate(url(`/builds/${launched.build_id}`));
  };
  return (
    <Dialog title={`Launch ${project.name}`} onClose={onClose}>
      <Form submit="Launch build" onSubmit={submit}>
        <TextField
          label="Branch"
          hint="Its newest commit is built."
          placeholder={project.branch}
          autocapitalize="none"
          spellcheck={false}
          value={branch}
          onInput={setBranch}
        />
        {project.available_steps.length > 0 && (
          <fieldset class="field">
            <legend>Steps</legend>
            {project.available_steps.map((step) => (
              <CheckBox key={step} label={step} checked={!skipped.has(step)} onChange={(runs) => toggle(step, runs)} />
            ))}
          </fieldset>
        )}
        <PlanCheck project={project} branch={branch.trim() || null} label="Show the plan" />
      </Form>
    </Dialog>
  );
}
