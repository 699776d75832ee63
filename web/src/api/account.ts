/** The account of the signed-in user. */
import { api, dataOf, type Schemas } from "./client.ts";

export type ApiToken = Schemas["ApiToken"];
export type NewApiToken = Schemas["NewApiToken"];

export async function listMyTokens(): Promise<ApiToken[]> {
  return await dataOf(api.GET("/api/user/tokens"));
}

/** Create a token. Without `scopes` it has all rights of the user; if `expires_at` is null it does not expire. */
export async function createToken(name: string, scopes: string[], expires_at: string | null): Promise<NewApiToken> {
  return await dataOf(api.POST("/api/user/tokens", { body: { token: { name, scopes, expires_at } } }));
}

export async function revokeMyToken(token_id: number): Promise<void> {
  await api.DELETE("/api/user/tokens/{token_id}", { params: { path: { token_id } } });
}

/** Change the password. This ends all sessions of the user and revokes all tokens. */
export async function changePassword(current_password: string, password: string): Promise<void> {
  await api.PATCH("/api/user/password", { body: { current_password, password } });
}

export async function changeEmail(current_password: string, email: string): Promise<void> {
  await api.PATCH("/api/user/email", { body: { current_password, email: email || null } });
}

export async function getMyIdentity(): Promise<Schemas["IdentityLinkView"]> {
  return await dataOf(api.GET("/api/user/identity"));
}

/** Begin to link the user to an account at the OpenID provider. Return the page where the browser continues. */
export async function startLink(current_password: string): Promise<string> {
  return (await dataOf(api.POST("/api/user/identity", { body: { current_password } }))).url;
}
