import { useState } from "preact/hooks";
import { launchBuild } from "../../api/builds.ts";
import type { Project } from "../../api/projects.ts";
import { toApiError } from "../../api/resource.ts";
import { Dialog } from "../../components/dialog.tsx";
import { CheckBox, Form, TextField } from "../../components/form.tsx";
import { showToast } from "../../components/toasts.tsx";
import { navigate, url } from "../../router/location.ts";
import { errorOfRow, givenVariables, type RowError, type VariableRow } from "./launch_variables.ts";
import { PlanCheck } from "./plan_view.tsx";
import { VariableRows } from "./variable_rows.tsx";

/** A dialog that launches a build of a project and then shows the build. */
export function LaunchDialog({ project, onClose }: { project: Project; onClose: () => void }) {
  const [branch, setBranch] = useState("");
  const [skipped, setSkipped] = useState<ReadonlySet<string>>(new Set());
  const [rows, setRows] = useState<VariableRow[]>([]);
  const [rowError, setRowError] = useState<RowError | null>(null);
  const variables = givenVariables(rows);
  const changeRows = (changed: VariableRow[]) => {
    setRows(changed);
    setRowError(null);
  };
  const toggle = (step: string, runs: boolean) => {
    const changed = new Set(skipped);
    if (runs) changed.delete(step);
    else changed.add(step);
    setSkipped(changed);
  };
  /** Return the result of a request. If its error is about a variable, show the error at that row and return null. */
  const withRowErrors = async <T,>(request: Promise<T>): Promise<T | null> => {
    setRowError(null);
    try {
      return await request;
    } catch (failure) {
      const found = errorOfRow(rows, toApiError(failure));
      if (!found) throw failure;
      setRowError(found);
      return null;
    }
  };
  const submit = async () => {
    const options = { ignore_steps: [...skipped], ref: branch.trim() || null, variables };
    const launched = await withRowErrors(launchBuild(project.id, options));
    if (!launched) return;
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
        <VariableRows rows={rows} error={rowError} onChange={changeRows} />
        <PlanCheck
          project={project}
          branch={branch.trim() || null}
          variables={variables}
          label="Show the plan"
          around={withRowErrors}
        />
      </Form>
    </Dialog>
  );
}
