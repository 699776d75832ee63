/** Sentences for the results of a sign-in with the OpenID provider, which the server adds to the URL of the page. */

export const LINKED = "linked";

const SENTENCES: Record<string, string> = {
  [LINKED]: "Linked. You can now sign in with this account.",
  OIDC_DENIED: "The sign-in was refused or canceled at the provider.",
  OIDC_STATE_INVALID: "The sign-in took too long, or was started in another browser. Try again.",
  OIDC_PROVIDER_UNAVAILABLE: "The provider does not answer. Try again later, or tell an administrator.",
  OIDC_RESPONSE_INVALID: "The response of the provider was not accepted. Tell an administrator.",
  OIDC_USER_UNKNOWN: "No user is linked to your account. Ask an administrator to link it.",
  OIDC_USER_DISABLED: "Your user is disabled. Ask an administrator.",
  OIDC_USERNAME_INVALID: "The provider gives no name that can be a username. Ask an administrator.",
  OIDC_USERNAME_TAKEN:
    "A user with your name exists already. If it is yours, sign in with the password and link the account on your account page.",
  OIDC_GROUP_REQUIRED: "Your account is in none of the groups that may sign in.",
  TOO_MANY_REQUESTS: "Too many users sign in at the moment. Try again in a few seconds.",
  DEVELOPER_IDENTITY_TAKEN: "Another user is linked to this account.",
};

/** Return the sentence for a result. Codes come from the URL, so an unknown code gives a general sentence. */
export function describeResult(code: string): string {
  return Object.hasOwn(SENTENCES, code) ? (SENTENCES[code] ?? "") : "The sign-in failed. Try again.";
}
