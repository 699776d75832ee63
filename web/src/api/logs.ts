/** Lines of jobs' logs. */
import { api, dataOf, type Schemas } from "./client.ts";

export type LogChunk = Schemas["LogChunk"];
export type LogPage = Schemas["LogPage"];
export type LogPosition = Schemas["LogPosition"];
export type LogSection = Schemas["LogStep"];

export interface LogQuery {
  attempt: number;
  section?: number;
  from?: number;
  limit?: number;
  tail?: number;
}

export async function getLogLines(job_id: number, query: LogQuery): Promise<LogPage> {
  return await dataOf(api.GET("/api/developer/jobs/{job_id}/log/lines", { params: { path: { job_id }, query } }));
}

/** URL of the whole log as plain text. */
export function rawLogUrl(jobId: number, attempt: number): string {
  return `/api/developer/jobs/${jobId}/log?attempt=${attempt}`;
}

export function logStreamUrl(jobId: number, attempt: number, section: number, from: number): string {
  return `/api/developer/jobs/${jobId}/log/stream?attempt=${attempt}&section=${section}&from=${from}`;
}
