/** Secrets, credentials of repositories, and executors. */
import { api, dataOf, type Schemas } from "./client.ts";

export type Secret = Schemas["Secret"];
export type Credential = Schemas["Credential"];
export type Executor = Schemas["Executor"];

export interface SecretFields {
  name: string;
  /** Empty keeps the value. */
  value: string;
  env: string;
  projects: number[];
}

export async function listSecrets(): Promise<Secret[]> {
  return await dataOf(api.GET("/api/admin/secrets"));
}

export async function readSecret(secret_id: number): Promise<string> {
  return (await dataOf(api.GET("/api/admin/secrets/{secret_id}", { params: { path: { secret_id } } }))).value;
}

/** Create a secret. Returns the server's warning about the value, or null. */
export async function createSecret({ name, value, env, projects }: SecretFields): Promise<string | null> {
  const secret = { name, value, env: env || null, projects_id: projects };
  return (await dataOf(api.POST("/api/admin/secrets", { body: { secret } }))).detail ?? null;
}

/** Send the fields of a secret that differ, and its value unless it is empty. */
export async function saveSecret(before: Secret, after: SecretFields): Promise<void> {
  const params = { path: { secret_id: before.id } };
  const { name, value, env, projects } = after;
  if (name !== before.name)
    await api.PATCH("/api/admin/secrets/{secret_id}/name", { params, body: { secret: { name } } });
  if (env !== (before.env ?? ""))
    await api.PATCH("/api/admin/secrets/{secret_id}/env", { params, body: { secret: { env: env || null } } });
  if (projects.join() !== before.projects_id.join())
    await api.PATCH("/api/admin/secrets/{secret_id}/projects", { params, body: { secret: { projects_id: projects } } });
  if (value) await api.PATCH("/api/admin/secrets/{secret_id}/value", { params, body: { secret: { value } } });
}

export async function deleteSecret(secret_id: number): Promise<void> {
  await api.DELETE("/api/admin/secrets/{secret_id}", { params: { path: { secret_id } } });
}

export async function listCredentials(): Promise<Credential[]> {
  return await dataOf(api.GET("/api/admin/credentials"));
}

export async function readCredential(credential_id: number): Promise<string> {
  const params = { path: { credential_id } };
  return (await dataOf(api.GET("/api/admin/credentials/{credential_id}", { params }))).ssh_key;
}

export async function createCredential(name: string, ssh_key: string): Promise<void> {
  await api.POST("/api/admin/credentials", { body: { credential: { name, ssh_key } } });
}

/** Rename a credential, and replace its key unless the new one is empty. */
export async function saveCredential(before: Credential, name: string, ssh_key: string): Promise<void> {
  const params = { path: { credential_id: before.id } };
  if (name !== before.name)
    await api.PATCH("/api/admin/credentials/{credential_id}/name", { params, body: { credential: { name } } });
  if (ssh_key)
    await api.PATCH("/api/admin/credentials/{credential_id}/ssh_key", { params, body: { credential: { ssh_key } } });
}

export async function deleteCredential(credential_id: number): Promise<void> {
  await api.DELETE("/api/admin/credentials/{credential_id}", { params: { path: { credential_id } } });
}

export async function listExecutors(): Promise<Executor[]> {
  return await dataOf(api.GET("/api/admin/executors"));
}

export async function createExecutor(name: string, variables: Record<string, string>): Promise<void> {
  const { id } = await dataOf(
    api.POST("/api/admin/executors", { body: { executor: { name, driver: "localDriver" } } }),
  );
  if (Object.keys(variables).length) await setVariables(id, variables);
}

export async function saveExecutor(before: Executor, name: string, variables: Record<string, string>): Promise<void> {
  const params = { path: { executor_id: before.id } };
  if (name !== before.name)
    await api.PATCH("/api/admin/executors/{executor_id}/name", { params, body: { executor: { name } } });
  if (JSON.stringify(variables) !== JSON.stringify(before.variables)) await setVariables(before.id, variables);
}

async function setVariables(executor_id: number, variables: Record<string, string>): Promise<void> {
  const params = { path: { executor_id } };
  await api.PATCH("/api/admin/executors/{executor_id}/variables", { params, body: { executor: { variables } } });
}

export async function deleteExecutor(executor_id: number): Promise<void> {
  await api.DELETE("/api/admin/executors/{executor_id}", { params: { path: { executor_id } } });
}
