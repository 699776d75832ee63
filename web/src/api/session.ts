/** Who is signed in. The session is renewed while the page is open. */
import { signal } from "@preact/signals";
import { ApiError, api, dataOf, type Schemas, whenSignedOut } from "./client.ts";

export type User = Schemas["User"];
type Session = Schemas["SessionView"];

export type SessionState =
  | { status: "unknown" }
  /** `failure`: the error code of a sign-in with the OpenID provider. */
  | { status: "signed-out"; hasEnded: boolean; failure?: string }
  | { status: "signed-in"; user: User };

/** Entry in the local storage from sign-in to sign-out: scripts cannot read the session cookie. Shared by all tabs. */
const MARK = "headrace.session";
const MIN_RENEWAL_SECONDS = 30;
const RETRY_SECONDS = 15;

export const session = signal<SessionState>({ status: "unknown" });
let timer = 0;

/**
 * Renew the session and load its user. Without the mark of a sign-in and without the result `ok`, no request is sent.
 * `result`: the result of a sign-in with the OpenID provider, if the browser has just returned from there.
 */
export async function restoreSession(result: string | null = null): Promise<void> {
  if (localStorage.getItem(MARK) !== null || result === "ok") await renew();
  else if (result === null) session.value = { status: "signed-out", hasEnded: false };
  else session.value = { status: "signed-out", hasEnded: false, failure: result };
}

/** Return whether users can sign in with a password, and with which OpenID provider. */
export async function getSignInMethods(): Promise<Schemas["SignInMethods"]> {
  return await dataOf(api.GET("/api/auth/methods"));
}

export async function signIn(username: string, password: string): Promise<void> {
  const auth = { username, password };
  begin(await dataOf(api.POST("/api/auth/session", { body: { auth } })));
}

export async function signOut(): Promise<void> {
  await api.DELETE("/api/auth/session");
  end(false);
}

export function isAdministrator(): boolean {
  const state = session.value;
  return state.status === "signed-in" && state.user.roles.includes("ROLE_ADMIN");
}

export function isMe(userId: number): boolean {
  const state = session.value;
  return state.status === "signed-in" && state.user.id === userId;
}

function begin({ user, expires_in, renewable_for }: Session): void {
  localStorage.setItem(MARK, String(user.id));
  const known = session.peek();
  const isSame = known.status === "signed-in" && JSON.stringify(known.user) === JSON.stringify(user);
  if (!isSame) session.value = { status: "signed-in", user };
  clearTimeout(timer);
  if (renewable_for > 0) timer = window.setTimeout(renew, Math.max(expires_in / 2, MIN_RENEWAL_SECONDS) * 1000);
}

function end(hasEnded: boolean): void {
  clearTimeout(timer);
  localStorage.removeItem(MARK);
  if (session.peek().status !== "signed-out") session.value = { status: "signed-out", hasEnded };
}

async function renew(): Promise<void> {
  try {
    begin(await dataOf(api.POST("/api/auth/session/renew")));
  } catch (error) {
    if (error instanceof ApiError && (error.status === 401 || error.status === 403)) end(true);
    else timer = window.setTimeout(renew, RETRY_SECONDS * 1000);
  }
}

whenSignedOut(() => end(session.peek().status === "signed-in"));
window.addEventListener("storage", ({ key, newValue }) => {
  if (key !== MARK && key !== null) return;
  if (newValue === null) end(false);
  else if (session.peek().status !== "signed-in") void renew();
});
