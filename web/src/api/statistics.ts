/** Statistics of builds and jobs. */
import { api, dataOf, type Schemas } from "./client.ts";

export type Bucket = Schemas["StatisticsBucket"];
export type JobStatistics = Schemas["JobStatistics"];
export type Statistics = Schemas["BuildStatistics"];

export async function loadStatistics(project: string, days: number): Promise<Statistics> {
  const today = new Date();
  const from = new Date(today.getTime() - (days - 1) * 86_400_000);
  const query = { ...(project && { project: Number(project) }), from: day(from), to: day(today) };
  return await dataOf(api.GET("/api/developer/statistics/builds", { params: { query } }));
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}
