/** Deliveries of webhooks, of one project or of all. */
import { type ListedBuild, listBuilds } from "./builds.ts";
import { api, dataOf, type Schemas } from "./client.ts";
import { listProjects, type Project } from "./projects.ts";

export type Delivery = Schemas["Delivery"];

export interface Deliveries {
  projects: Project[];
  deliveries: Delivery[];
  /** The builds that the deliveries launched, by id of the delivery. Deleted builds are missing. */
  builds: Map<string, ListedBuild>;
  /** Whether the server may have older deliveries. */
  hasMore: boolean;
}

const AT_A_TIME = 4; // concurrent requests, one per project
const PER_PROJECT = 20;
const BUILDS_PER_REQUEST = 50; // so that the URL is short enough for proxies

/** The last `count` deliveries, newest first. `projectId` null: of the last PER_PROJECT of each project. */
export async function loadDeliveries(projectId: number | null, decision: string, count: number): Promise<Deliveries> {
  const projects = await listProjects();
  const asked = projectId === null ? projects.map(({ id }) => id) : [projectId];
  const each = projectId === null ? PER_PROJECT : count;
  const pages: { data: Delivery[]; total: number }[] = [];
  for (let i = 0; i < asked.length; i += AT_A_TIME)
    pages.push(...(await Promise.all(asked.slice(i, i + AT_A_TIME).map((id) => loadPage(id, decision, each)))));
  const deliveries = pages.flatMap(({ data }) => data);
  deliveries.sort((one, other) => other.received_at.localeCompare(one.received_at));
  const shown = deliveries.slice(0, count);
  const hasMore = deliveries.length > count || pages.some(({ total }) => total > each);
  return { projects, deliveries: shown, builds: await findBuilds(shown), hasMore };
}

/** One delivery, like a list. */
export async function loadDelivery(delivery_id: string): Promise<Deliveries> {
  const params = { path: { delivery_id } };
  const [projects, delivery] = await Promise.all([
    listProjects(),
    dataOf(api.GET("/api/admin/deliveries/{delivery_id}", { params })),
  ]);
  return { projects, deliveries: [delivery], builds: await findBuilds([delivery]), hasMore: false };
}

async function findBuilds(deliveries: Delivery[]): Promise<Map<string, ListedBuild>> {
  // a build that a delivery launched has the id of the delivery as its executor_id
  const ids = deliveries.filter(({ executor_id }) => executor_id !== null).map(({ id }) => id);
  const builds: ListedBuild[] = [];
  for (let i = 0; i < ids.length; i += BUILDS_PER_REQUEST) {
    const delivery = ids.slice(i, i + BUILDS_PER_REQUEST);
    builds.push(...(await listBuilds({ delivery, limit: BUILDS_PER_REQUEST })).builds);
  }
  return new Map(builds.map((build) => [build.executor_id, build]));
}

async function loadPage(project_id: number, decision: string, per_page: number) {
  const query = { page: 1, per_page, ...(decision ? { "decision[eq]": decision } : {}) };
  return await dataOf(
    api.GET("/api/admin/projects/{project_id}/deliveries", { params: { path: { project_id }, query } }),
  );
}

/** Start the build of a fork's commit, as an administrator or as a maintainer of the project. */
export async function approveDelivery(delivery: Delivery, scope: "admin" | "developer"): Promise<void> {
  const params = { path: { project_id: delivery.project_id, delivery_id: delivery.id } };
  if (scope === "admin")
    await api.POST("/api/admin/projects/{project_id}/deliveries/{delivery_id}/approve", { params });
  else await api.POST("/api/developer/projects/{project_id}/deliveries/{delivery_id}/approve", { params });
}

/** The newest 20 deliveries of a project that wait for approval, newest first. For maintainers of the project. */
export async function loadWaitingDeliveries(project_id: number): Promise<Delivery[]> {
  const query = { page: 1, per_page: 20, "decision[eq]": "WAITING" };
  const params = { path: { project_id }, query };
  return (await dataOf(api.GET("/api/developer/projects/{project_id}/deliveries", { params }))).data;
}
