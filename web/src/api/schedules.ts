/** Schedules of a project: builds at the times of a cron expression. */
import type { BuildVariable } from "./builds.ts";
import { api, dataOf, type Schemas } from "./client.ts";

export type Schedule = Schemas["ProjectSchedule"];

export interface ScheduleFields {
  cron: string;
  zone: string;
  /** null: the branch of the project. */
  branch: string | null;
  variables: BuildVariable[];
  description: string;
  active: boolean;
}

const COLLECTION = "/api/developer/projects/{project_id}/schedules";
const ITEM = "/api/developer/projects/{project_id}/schedules/{schedule_id}";

export async function listSchedules(project_id: number): Promise<Schedule[]> {
  return await dataOf(api.GET(COLLECTION, { params: { path: { project_id } } }));
}

export async function createSchedule(project_id: number, schedule: ScheduleFields): Promise<Schedule> {
  return await dataOf(api.POST(COLLECTION, { params: { path: { project_id } }, body: { schedule } }));
}

export async function changeSchedule(
  { id, project_id }: Schedule,
  schedule: Partial<ScheduleFields>,
): Promise<Schedule> {
  const path = { project_id, schedule_id: id };
  return await dataOf(api.PATCH(ITEM, { params: { path }, body: { schedule } }));
}

export async function deleteSchedule({ id, project_id }: Schedule): Promise<void> {
  await api.DELETE(ITEM, { params: { path: { project_id, schedule_id: id } } });
}

/** Launch a build of the schedule now. */
export async function runSchedule({ id, project_id }: Schedule): Promise<Schedule> {
  const path = { project_id, schedule_id: id };
  return await dataOf(
    api.POST("/api/developer/projects/{project_id}/schedules/{schedule_id}/run", { params: { path } }),
  );
}

/** The next times of an expression. Throws an ApiError if the expression is not valid. */
export async function getUpcomingRuns(project_id: number, cron: string, zone: string): Promise<string[]> {
  const params = { path: { project_id }, query: { cron, zone } };
  const { times } = await dataOf(api.GET("/api/developer/projects/{project_id}/schedules/times", { params }));
  return times;
}
