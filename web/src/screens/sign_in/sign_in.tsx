import { useEffect, useState } from "preact/hooks";
import { ApiError, type Schemas } from "../../api/client.ts";
import { getSignInMethods, session, signIn } from "../../api/session.ts";
import { Form, TextField } from "../../components/form.tsx";
import { Brand } from "../../layout/frame.tsx";
import { describeResult } from "./sign_in_results.ts";

/** The sign-in form. After the sign-in, the page that was opened is shown. */
export function SignIn() {
  const [wait, setWait] = useState(0);
  const [methods, setMethods] = useState<Schemas["SignInMethods"]>({ password: true, oidc: null });
  useEffect(() => {
    document.title = "Sign in · Headrace";
    getSignInMethods().then(setMethods, () => {}); // without an answer, the password form stays
  }, []);
  useEffect(() => {
    if (wait <= 0) return;
    const timer = setTimeout(() => setWait(wait - 1), 1000);
    return () => clearTimeout(timer);
  }, [wait]);
  const state = session.value;
  const submit = async (fields: FormData) => {
    try {
      await signIn(String(fields.get("username")), String(fields.get("password")));
    } catch (error) {
      if (error instanceof ApiError && error.status === 429 && error.retryAfter > 0) {
        setWait(Math.ceil(error.retryAfter));
        return;
      }
      throw error;
    }
  };
  return (
    <main class="sign-in">
      <div class="sign-in-card">
        <Brand />
        <h1>Sign in to Headrace</h1>
        {state.status === "signed-out" && state.hasEnded && (
          <p class="notice tone-warning">Your session has ended. Sign in to continue where you were.</p>
        )}
        {wait > 0 && (
          <p class="notice tone-warning" role="status">
            Too many attempts. You can try again in {wait} s.
          </p>
        )}
        {state.status === "signed-out" && state.failure && (
          <p class="notice tone-failure" role="alert">
            {describeResult(state.failure)}
          </p>
        )}
        {methods.password && (
          <Form submit="Sign in" onSubmit={submit} disabled={wait > 0}>
            <TextField
              label="Username"
              name="username"
              autocomplete="username"
              autocapitalize="none"
              spellcheck={false}
              required
              autofocus
            />
            <TextField label="Password" name="password" type="password" autocomplete="current-password" required />
          </Form>
        )}
        {methods.oidc && <ProviderLink {...methods.oidc} />}
      </div>
    </main>
  );
}

function ProviderLink({ name, path }: { name: string; path: string }) {
  const { pathname, search, hash } = window.location;
  const returnTo = encodeURIComponent(pathname + search + hash);
  return (
    <a class="button sign-in-provider" href={`${path}?return_to=${returnTo}`}>
      Sign in with {name}
    </a>
  );
}
