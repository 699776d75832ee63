import { useEffect, useState } from "preact/hooks";
import type { Project } from "../../api/projects.ts";
import { toApiError, useResource } from "../../api/resource.ts";
import { changeSchedule, createSchedule, getUpcomingRuns, type Schedule } from "../../api/schedules.ts";
import { Dialog } from "../../components/dialog.tsx";
import { CheckBox, Form, SelectField, TextField } from "../../components/form.tsx";
import { showToast } from "../../components/toasts.tsx";
import { formatIn } from "../../format/time.ts";
import { errorOfRow, type RowError, type VariableRow } from "../launch/launch_variables.ts";
import { VariableRows } from "../launch/variable_rows.tsx";
import { fieldsOf, inputOf, knownZones, type ScheduleInput, userZone } from "./schedule_form.ts";

const PREVIEW_DELAY_MS = 300; // the times are requested when the user stops typing

interface Props {
  project: Project;
  /** The schedule to change; null creates one. */
  schedule: Schedule | null;
  onClose: () => void;
  reload: () => void;
}

/** A dialog that creates or changes a schedule and shows its next times. */
export function ScheduleDialog({ project, schedule, onClose, reload }: Props) {
  const [input, setInput] = useState(() => inputOf(schedule, userZone()));
  const [rowError, setRowError] = useState<RowError | null>(null);
  const change = (changed: Partial<ScheduleInput>) => setInput({ ...input, ...changed });
  const changeRows = (rows: VariableRow[]) => {
    change({ rows });
    setRowError(null);
  };
  const submit = async () => {
    setRowError(null);
    const fields = fieldsOf(input);
    try {
      if (schedule) await changeSchedule(schedule, fields);
      else await createSchedule(project.id, fields);
    } catch (failure) {
      const found = errorOfRow(input.rows, toApiError(failure));
      if (!found) throw failure;
      setRowError(found);
      return;
    }
    showToast(schedule ? "Schedule saved" : "Schedule created");
    reload();
    onClose();
  };
  const zones = knownZones();
  const options = zones.includes(input.zone) ? zones : [input.zone, ...zones];
  return (
    <Dialog title={schedule ? "Change the schedule" : "New schedule"} onClose={onClose}>
      <Form submit={schedule ? "Save" : "Create"} onSubmit={submit}>
        <TextField
          label="Description"
          hint="Shown with the builds of the schedule"
          value={input.description}
          onInput={(description) => change({ description })}
        />
        <TextField
          label="Cron expression"
          required
          hint="Minute, hour, day of the month, month, day of the week; or @daily, @weekly, @monthly"
          placeholder="30 2 * * 1-5"
          autocapitalize="none"
          autocomplete="off"
          spellcheck={false}
          value={input.cron}
          onInput={(cron) => change({ cron })}
        />
        <SelectField
          label="Time zone"
          value={input.zone}
          options={options.map((zone) => [zone, zone])}
          onChange={(zone) => change({ zone })}
        />
        <UpcomingRuns projectId={project.id} cron={input.cron} zone={input.zone} />
        <TextField
          label="Branch"
          hint="Its newest commit is built."
          placeholder={project.branch}
          autocapitalize="none"
          spellcheck={false}
          value={input.branch}
          onInput={(branch) => change({ branch })}
        />
        <VariableRows rows={input.rows} error={rowError} onChange={changeRows} />
        <CheckBox
          label="Active"
          hint="A paused schedule launches no builds."
          checked={input.active}
          onChange={(active) => change({ active })}
        />
      </Form>
    </Dialog>
  );
}

/** The next times of the expression in its time zone, or why it is not valid. */
function UpcomingRuns({ projectId, cron, zone }: { projectId: number; cron: string; zone: string }) {
  const [settled, setSettled] = useState({ cron, zone });
  useEffect(() => {
    const timer = window.setTimeout(() => setSettled({ cron, zone }), PREVIEW_DELAY_MS);
    return () => clearTimeout(timer);
  }, [cron, zone]);
  const expression = settled.cron.trim();
  const key = expression ? `upcoming-${projectId}-${settled.zone}-${expression}` : null;
  const { data, error } = useResource(key, () => getUpcomingRuns(projectId, expression, settled.zone));
  return (
    <div class="upcoming-runs" role="status">
      {error && <p class="field-error">{error.message}</p>}
      {data && (
        <>
          <p>Next runs</p>
          <ul>
            {data.map((time) => (
              <li key={time}>
                <time dateTime={time}>{formatIn(time, settled.zone)}</time>
              </li>
            ))}
          </ul>
        </>
      )}
    </div>
  );
}
