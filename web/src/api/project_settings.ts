/** Changes of a project's settings, with one request per changed setting or group of settings. */
import { api, dataOf, type Schemas } from "./client.ts";
import type { Project } from "./projects.ts";

/** Limits in days, and in numbers of builds, for data of finished builds. 0: the server's setting. */
export const LIMITS = [
  "keep_build_days",
  "keep_log_days",
  "keep_number_log",
  "keep_artifact_days",
  "keep_number_artifact",
] as const;
export type Limits = Record<(typeof LIMITS)[number], number>;

/** The settings of a project as in the form. Maintainers may change all except `repository`, owners may change all. */
export interface Settings extends Limits {
  name: string;
  description: string;
  repository: string;
  branch: string;
  spec_file_path: string;
  keep_number_build: number | null;
  allow_concurrent_execution: boolean;
  protected_branches: string[];
  visibility: string;
  badges: boolean;
  superseded_builds: string;
  build_tags: boolean;
  build_pull_requests: string;
}

export function settingsOf(project: Project): Settings {
  return {
    name: project.name,
    description: project.description ?? "",
    repository: project.repository,
    branch: project.branch,
    spec_file_path: project.spec_file_path,
    keep_number_build: project.keep_number_build,
    ...(Object.fromEntries(LIMITS.map((name) => [name, project[name] ?? 0])) as Limits),
    allow_concurrent_execution: project.allow_concurrent_execution,
    protected_branches: project.protected_branches,
    visibility: project.visibility ?? "internal",
    badges: project.badges ?? false,
    superseded_builds: project.superseded_builds ?? "keep",
    build_tags: project.build_tags ?? false,
    build_pull_requests: project.build_pull_requests ?? "none",
  };
}

/** The settings for builds that webhooks start and cancel. One request changes all of them. */
const TRIGGERS = ["superseded_builds", "build_tags", "build_pull_requests"] as const;

/** Send the settings that differ. */
export async function saveSettings(project_id: number, before: Settings, after: Settings): Promise<void> {
  const params = { path: { project_id } };
  const changed = (name: keyof Settings) => JSON.stringify(before[name]) !== JSON.stringify(after[name]);
  const {
    name,
    description,
    repository,
    branch,
    spec_file_path,
    keep_number_build,
    allow_concurrent_execution,
    protected_branches,
    visibility,
    badges,
  } = after;
  if (changed("name"))
    await api.PATCH("/api/developer/projects/{project_id}/name", { params, body: { project: { name } } });
  if (changed("description"))
    await api.PATCH("/api/developer/projects/{project_id}/description", { params, body: { project: { description } } });
  if (changed("repository"))
    await api.PATCH("/api/developer/projects/{project_id}/repository", { params, body: { project: { repository } } });
  if (changed("branch"))
    await api.PATCH("/api/developer/projects/{project_id}/branch", { params, body: { project: { branch } } });
  if (changed("spec_file_path"))
    await api.PATCH("/api/developer/projects/{project_id}/spec_file_path", {
      params,
      body: { project: { spec_file_path } },
    });
  if (changed("keep_number_build"))
    await api.PATCH("/api/developer/projects/{project_id}/keep_number_build", {
      params,
      body: { project: { keep_number_build } },
    });
  const limits = LIMITS.filter(changed);
  if (limits.length > 0)
    await api.PATCH("/api/developer/projects/{project_id}/retention", {
      params,
      body: { retention: Object.fromEntries(limits.map((name) => [name, after[name]])) },
    });
  if (changed("allow_concurrent_execution"))
    await api.PATCH("/api/developer/projects/{project_id}/allow_concurrent_execution", {
      params,
      body: { project: { allow_concurrent_execution } },
    });
  if (changed("protected_branches"))
    await api.PATCH("/api/developer/projects/{project_id}/protected_branches", {
      params,
      body: { project: { protected_branches } },
    });
  if (changed("visibility"))
    await api.PATCH("/api/developer/projects/{project_id}/visibility", { params, body: { project: { visibility } } });
  if (changed("badges"))
    await api.PATCH("/api/developer/projects/{project_id}/badges", { params, body: { project: { badges } } });
  const triggers = TRIGGERS.filter(changed);
  if (triggers.length > 0)
    await api.PATCH("/api/developer/projects/{project_id}/triggers", {
      params,
      body: { triggers: Object.fromEntries(triggers.map((name) => [name, after[name]])) },
    });
}

/** The settings of the forge to which the results of builds are reported. */
export interface Forge {
  kind: string;
  api_url: string;
  secret: string;
}

export function forgeOf(project: Project): Forge {
  return {
    kind: project.forge_kind ?? "none",
    api_url: project.forge_api_url ?? "",
    secret: project.forge_secret ?? "",
  };
}

export async function saveForge(project_id: number, forge: Forge): Promise<void> {
  await api.PUT("/api/developer/projects/{project_id}/forge", { params: { path: { project_id } }, body: { forge } });
}

export type OutgoingRequest = Schemas["OutgoingRequest"];

/** The last requests to the forge, newest first. For maintainers. */
export async function listOutgoing(project_id: number, limit: number): Promise<OutgoingRequest[]> {
  const params = { path: { project_id }, query: { limit, kind: "commit_status" } };
  return (await dataOf(api.GET("/api/developer/projects/{project_id}/outgoing-requests", { params })))
    .outgoing_requests;
}

/** Replace the key with which webhooks are signed. */
export async function renewSignatureKey(project_id: number): Promise<Project> {
  return await dataOf(
    api.PATCH("/api/developer/projects/{project_id}/signature_key", { params: { path: { project_id } } }),
  );
}

export type Delivery = Schemas["Delivery"];

/** The last webhook deliveries, newest first. For administrators. */
export async function listDeliveries(project_id: number, per_page: number): Promise<Delivery[]> {
  const query = { page: 1, per_page };
  return (
    await dataOf(api.GET("/api/admin/projects/{project_id}/deliveries", { params: { path: { project_id }, query } }))
  ).data;
}
