/** Projects and their settings. */
import { api, dataOf, type Schemas } from "./client.ts";

export type Project = Schemas["Project"];
export type NewProject = Schemas["ProjectFields"];
export type Visibility = "internal" | "private";

export async function listProjects(): Promise<Project[]> {
  const projects = await dataOf(api.GET("/api/developer/projects"));
  return projects.sort((one, other) => one.name.localeCompare(other.name));
}

export async function getProject(project_id: number): Promise<Project> {
  return await dataOf(api.GET("/api/developer/projects/{project_id}", { params: { path: { project_id } } }));
}

export async function createProject(project: NewProject): Promise<Project> {
  return await dataOf(api.POST("/api/admin/projects", { body: { project } }));
}

export async function deleteProject(project_id: number): Promise<void> {
  await api.DELETE("/api/developer/projects/{project_id}", { params: { path: { project_id } } });
}

export async function listExecutors() {
  return await dataOf(api.GET("/api/developer/executors"));
}
