/** The form of a schedule: its initial values, and what is sent. */
import type { Schedule, ScheduleFields } from "../../api/schedules.ts";
import { givenVariables, type VariableRow } from "../launch/launch_variables.ts";

export interface ScheduleInput {
  cron: string;
  zone: string;
  branch: string;
  description: string;
  active: boolean;
  rows: VariableRow[];
}

/** The values of the form for a schedule; null: for a new one, in the time zone of the user. */
export function inputOf(schedule: Schedule | null, userZone: string): ScheduleInput {
  if (!schedule) return { cron: "", zone: userZone, branch: "", description: "", active: true, rows: [] };
  const { cron, zone, branch, description, active, variables } = schedule;
  const rows = variables.map((variable, index) => ({ ...variable, key: index + 1 }));
  return { cron, zone, branch: branch ?? "", description, active, rows };
}

export function fieldsOf({ cron, zone, branch, description, active, rows }: ScheduleInput): ScheduleFields {
  return {
    cron: cron.trim(),
    zone: zone.trim(),
    branch: branch.trim() || null,
    description: description.trim(),
    active,
    variables: givenVariables(rows),
  };
}

/** The time zones that the browser knows, for suggestions. */
export function knownZones(): string[] {
  return ["UTC", ...Intl.supportedValuesOf("timeZone").filter((zone) => zone !== "UTC")];
}

export function userZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}
