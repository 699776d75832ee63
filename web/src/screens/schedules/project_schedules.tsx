import { useState } from "preact/hooks";
import type { Project } from "../../api/projects.ts";
import { useResource } from "../../api/resource.ts";
import { changeSchedule, deleteSchedule, listSchedules, runSchedule, type Schedule } from "../../api/schedules.ts";
import { ActionButton, Button } from "../../components/button.tsx";
import { ConfirmButton } from "../../components/dialog.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { plural } from "../../format/text.ts";
import { url } from "../../router/location.ts";
import { isAboutProject } from "../shared/live_filters.ts";
import { ScheduleDialog } from "./schedule_dialog.tsx";

/** The schedules of a project, with their next and latest runs. */
export function ProjectSchedules({ project }: { project: Project }) {
  const schedules = useResource(`schedules-${project.id}`, () => listSchedules(project.id), {
    refreshOn: isAboutProject(project.id),
  });
  const [edited, setEdited] = useState<Schedule | "new" | null>(null);
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setEdited("new")}>
      New schedule
    </Button>
  );
  return (
    <Loaded resource={schedules}>
      {(rows) => (
        <>
          {rows.length ? (
            <>
              <div class="filters">{add}</div>
              <Table
                caption="Schedules"
                columns={columns(setEdited, schedules.reload)}
                rows={rows}
                rowKey={({ id }) => id}
              />
            </>
          ) : (
            <Empty icon="history" title="No schedules yet">
              <p>A schedule launches builds at certain times, such as every night.</p>
              {add}
            </Empty>
          )}
          {edited && (
            <ScheduleDialog
              project={project}
              schedule={edited === "new" ? null : edited}
              onClose={() => setEdited(null)}
              reload={schedules.reload}
            />
          )}
        </>
      )}
    </Loaded>
  );
}

function columns(edit: (schedule: Schedule) => void, reload: () => void): Column<Schedule>[] {
  return [
    {
      name: "Schedule",
      kind: "wide",
      cell: (schedule) => (
        <div class="build-link">
          <button type="button" class="row-link" onClick={() => edit(schedule)}>
            {schedule.description || `Schedule ${schedule.id}`}
          </button>
          <span class="facts">
            <span>
              <code>{schedule.cron}</code> {schedule.zone}
            </span>
            {schedule.branch && <span>{schedule.branch}</span>}
            {schedule.variables.length > 0 && <span>{plural(schedule.variables.length, "variable")}</span>}
          </span>
        </div>
      ),
    },
    { name: "Next run", kind: "narrow", cell: (schedule) => <NextRun schedule={schedule} /> },
    { name: "Last run", cell: (schedule) => <LastRun schedule={schedule} /> },
    {
      name: "Actions",
      kind: "actions",
      cell: (schedule) => <Actions schedule={schedule} reload={reload} />,
    },
  ];
}

function NextRun({ schedule }: { schedule: Schedule }) {
  return <RelativeTime time={schedule.next_run_at} none={schedule.active ? "never" : "paused"} />;
}

function LastRun({ schedule }: { schedule: Schedule }) {
  const { last_run_at, last_build_id, last_error, last_error_detail } = schedule;
  return (
    <>
      <RelativeTime time={last_run_at} />
      {last_build_id && (
        <>
          {", "}
          <a href={url(`/builds/${last_build_id}`)}>build {last_build_id}</a>
        </>
      )}
      {last_error && <div class="field-error">{last_error_detail || last_error}</div>}
    </>
  );
}

function Actions({ schedule, reload }: { schedule: Schedule; reload: () => void }) {
  const name = schedule.description || `schedule ${schedule.id}`;
  const run = async () => {
    const { last_build_id } = await runSchedule(schedule);
    reload();
    return `Build ${last_build_id} launched`;
  };
  const setActive = async () => {
    await changeSchedule(schedule, { active: !schedule.active });
    reload();
    return schedule.active ? "Schedule paused" : "Schedule resumed";
  };
  const remove = async () => {
    await deleteSchedule(schedule);
    reload();
    return "Schedule deleted";
  };
  return (
    <>
      <ActionButton kind="quiet" icon="play" label={`Run ${name} now`} action={run} />
      <ActionButton kind="quiet" action={setActive}>
        {schedule.active ? "Pause" : "Resume"}
      </ActionButton>
      <ConfirmButton label="Delete" kind="quiet" title={`Delete ${name}?`} confirm="Delete" action={remove}>
        <p>Its builds stay.</p>
      </ConfirmButton>
    </>
  );
}
