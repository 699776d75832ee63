/** Users, their keys and tokens, and companies. */
import { api, dataOf, type Schemas } from "./client.ts";

export type Person = Schemas["Developer"];
export type Company = Schemas["Company"];
export type SshKey = Schemas["SshKey"];
export type ApiToken = Schemas["ApiToken"];

export const ADMINISTRATOR = "ROLE_ADMIN";
export const DEVELOPER = "ROLE_DEVELOPER";
const MAX_KEYS = 100;

export interface PersonFields {
  username: string;
  email: string;
  github_username: string;
  gitlab_username: string;
  roles: string[];
  enabled: boolean;
}

export function fieldsOf(person: Person): PersonFields {
  const { username, email, github_username, gitlab_username, roles, enabled } = person;
  return {
    username,
    email: email ?? "",
    github_username: github_username ?? "",
    gitlab_username: gitlab_username ?? "",
    roles,
    enabled,
  };
}

export async function listPeople(): Promise<Person[]> {
  return await dataOf(api.GET("/api/admin/developers"));
}

export async function getPerson(user_id: number): Promise<Person> {
  return await dataOf(api.GET("/api/admin/developers/{user_id}", { params: { path: { user_id } } }));
}

export async function createPerson(fields: PersonFields, password: string): Promise<Person> {
  const developer = {
    username: fields.username,
    password,
    email: fields.email || null,
    roles: fields.roles,
    github_username: fields.github_username || null,
    gitlab_username: fields.gitlab_username || null,
  };
  return await dataOf(api.POST("/api/admin/developers", { body: { developer } }));
}

/** Send the fields that differ. */
export async function savePerson(person: Person, after: PersonFields): Promise<void> {
  const before = fieldsOf(person);
  const params = { path: { user_id: person.id } };
  const changed = (name: keyof PersonFields) => JSON.stringify(before[name]) !== JSON.stringify(after[name]);
  const { username, roles, enabled } = after;
  if (changed("username"))
    await api.PATCH("/api/admin/developers/{user_id}/username", { params, body: { developer: { username } } });
  if (changed("email"))
    await api.PATCH("/api/admin/developers/{user_id}/email", {
      params,
      body: { developer: { email: after.email || null } },
    });
  if (changed("github_username"))
    await api.PATCH("/api/admin/developers/{user_id}/github_username", {
      params,
      body: { developer: { github_username: after.github_username || null } },
    });
  if (changed("gitlab_username"))
    await api.PATCH("/api/admin/developers/{user_id}/gitlab_username", {
      params,
      body: { developer: { gitlab_username: after.gitlab_username || null } },
    });
  if (changed("roles"))
    await api.PATCH("/api/admin/developers/{user_id}/roles", { params, body: { developer: { roles } } });
  if (changed("enabled"))
    await api.PATCH("/api/admin/developers/{user_id}/enabled", { params, body: { developer: { enabled } } });
}

export async function setPassword(user_id: number, password: string): Promise<void> {
  const params = { path: { user_id } };
  await api.PATCH("/api/admin/developers/{user_id}/password", { params, body: { developer: { password } } });
}

export async function deletePerson(user_id: number): Promise<void> {
  await api.DELETE("/api/admin/developers/{user_id}", { params: { path: { user_id } } });
}

export async function getIdentity(user_id: number): Promise<Schemas["IdentityLinkView"]> {
  return await dataOf(api.GET("/api/admin/developers/{user_id}/identity", { params: { path: { user_id } } }));
}

/** Link the user to the account with this subject at the OpenID provider. An empty subject removes the link. */
export async function saveIdentity(user_id: number, subject: string): Promise<void> {
  const params = { path: { user_id } };
  await api.PUT("/api/admin/developers/{user_id}/identity", { params, body: { identity: { subject } } });
}

export async function listTokens(user_id: number): Promise<ApiToken[]> {
  return await dataOf(api.GET("/api/admin/developers/{user_id}/tokens", { params: { path: { user_id } } }));
}

export async function revokeToken(user_id: number, token_id: number): Promise<void> {
  const params = { path: { user_id, token_id } };
  await api.DELETE("/api/admin/developers/{user_id}/tokens/{token_id}", { params });
}

export async function listKeys(user_alias: string): Promise<SshKey[]> {
  const params = { path: { user_alias }, query: { page: "0", size: String(MAX_KEYS) } };
  return (await dataOf(api.GET("/api/admin/user/{user_alias}/key", { params })))._embedded.userPublicSshKeyModelList;
}

export async function addKey(user_alias: string, title: string, publicKey: string): Promise<void> {
  const params = { path: { user_alias } };
  await api.POST("/api/admin/user/{user_alias}/key/create", { params, body: { title, publicKey } });
}

export async function deleteKey(user_alias: string, key_uuid: string): Promise<void> {
  await api.DELETE("/api/admin/user/{user_alias}/key/delete/{key_uuid}", {
    params: { path: { user_alias, key_uuid } },
  });
}

export async function listCompanies(): Promise<Company[]> {
  return await dataOf(api.GET("/api/admin/companies"));
}

export async function createCompany(title: string, alias: string, members_id: number[]): Promise<void> {
  await api.POST("/api/admin/companies", { body: { company: { title, alias: alias || null, members_id } } });
}

export async function saveCompany(before: Company, title: string, alias: string, members_id: number[]): Promise<void> {
  const params = { path: { company_id: before.id } };
  if (title !== before.title)
    await api.PATCH("/api/admin/companies/{company_id}/title", { params, body: { company: { title } } });
  if (alias !== before.alias)
    await api.PATCH("/api/admin/companies/{company_id}/alias", { params, body: { company: { alias } } });
  if (members_id.join() !== before.members_id.join())
    await api.PATCH("/api/admin/companies/{company_id}/members", { params, body: { company: { members_id } } });
}

export async function deleteCompany(company_id: number): Promise<void> {
  await api.DELETE("/api/admin/companies/{company_id}", { params: { path: { company_id } } });
}
