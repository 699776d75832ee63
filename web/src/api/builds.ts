/** Builds and jobs. */
import { api, dataOf, type Schemas } from "./client.ts";

export type ListedBuild = Schemas["ListedBuild"];
export type BuildPage = Schemas["BuildPage"];
export type BuildStatus = Schemas["BuildStatus"];
export type Overview = Schemas["BuildDetails"];
export type OverviewJob = Schemas["JobDetails"];
export type Attempt = Schemas["JobAttempt"];
export type OverviewArtifact = Schemas["Artifact"];

/** Filters of the list of builds. Absent ones match all. */
export interface BuildFilter {
  project?: number[];
  status?: BuildStatus[];
  source?: string[];
  /** `me` or the number of a user. */
  initiator?: string | null;
  ref?: string | null;
  since?: string;
  until?: string;
  /** Ids of webhook deliveries that launched the builds. */
  delivery?: string[];
  after?: string;
  limit?: number;
}

/** Builds that match, newest first. */
export async function listBuilds(filter: BuildFilter = {}): Promise<BuildPage> {
  return await dataOf(api.GET("/api/developer/builds", { params: { query: filter } }));
}

/** The newest `limit` builds of each of these projects, newest first, by id of the project. */
export async function listRecentBuilds(projects: number[], limit = 30): Promise<Map<number, ListedBuild[]>> {
  if (projects.length === 0) return new Map();
  const query = { project: projects, limit };
  const { projects: found } = await dataOf(api.GET("/api/developer/builds/recent", { params: { query } }));
  return new Map(found.map(({ project_id, builds }) => [project_id, builds]));
}

export async function getOverview(build_id: number): Promise<Overview> {
  return await dataOf(api.GET("/api/developer/builds/{build_id}/overview", { params: { path: { build_id } } }));
}

export async function listQueue() {
  return await dataOf(api.GET("/api/developer/builds/queueds"));
}

export async function listRunning() {
  return await dataOf(api.GET("/api/developer/builds/executeds"));
}

export type BuildVariable = Schemas["BuildVariable"];

export interface PlanOptions {
  /** Name of a branch; null: the branch of the project. */
  ref: string | null;
  variables: BuildVariable[];
}

export interface LaunchOptions extends PlanOptions {
  ignore_steps: string[];
}

export type BuildPlan = Schemas["BuildPlan"];

/** Return the jobs that a build of the branch would have, or the errors in its pipeline file. Launches nothing. */
export async function planBuild(project_id: number, build: PlanOptions): Promise<BuildPlan> {
  const params = { path: { project_id } };
  return await dataOf(api.POST("/api/developer/projects/{project_id}/plan", { params, body: { build } }));
}

export async function launchBuild(project_id: number, build: LaunchOptions) {
  return await dataOf(
    api.POST("/api/developer/builds/{project_id}", { params: { path: { project_id } }, body: { build } }),
  );
}

export async function retryBuild(build_id: number) {
  return await dataOf(api.POST("/api/developer/builds/{build_id}/retry", { params: { path: { build_id } } }));
}

/** Cancel a build that waits or runs. */
export async function cancelBuild({ executor_id, status }: { executor_id: string; status: string }): Promise<void> {
  const params = { path: { executor_id } };
  if (status === "QUEUED") await api.DELETE("/api/developer/builds/kill/queued/{executor_id}", { params });
  else await api.DELETE("/api/developer/builds/kill/executed/{executor_id}", { params });
}

export async function setPriority(build_id: number, priority: number): Promise<void> {
  await api.PATCH("/api/admin/builds/{build_id}/priority", {
    params: { path: { build_id } },
    body: { build: { priority } },
  });
}

export async function deleteBuild(build_id: number): Promise<void> {
  await api.DELETE("/api/admin/builds/{build_id}", { params: { path: { build_id } } });
}

export type JobAction = "play" | "retry" | "cancel";

export async function actOnJob(job_id: number, action: JobAction): Promise<void> {
  const options = { params: { path: { job_id } } };
  if (action === "play") await api.POST("/api/developer/jobs/{job_id}/play", options);
  else if (action === "retry") await api.POST("/api/developer/jobs/{job_id}/retry", options);
  else await api.POST("/api/developer/jobs/{job_id}/cancel", options);
}
