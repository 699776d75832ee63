import { useState } from "preact/hooks";
import { getMyIdentity, startLink } from "../../api/account.ts";
import { useResource } from "../../api/resource.ts";
import { getSignInMethods } from "../../api/session.ts";
import { Form, TextField } from "../../components/form.tsx";
import { Section } from "../../components/page.tsx";

/** The account at the OpenID provider with which the user can sign in. Hidden if no provider is configured. */
export function MyIdentity() {
  const [current, setCurrent] = useState("");
  const { data: methods } = useResource("sign-in-methods", getSignInMethods);
  const { data: identity } = useResource("my-identity", getMyIdentity);
  if (!methods?.oidc || !identity) return null;
  const submit = async () => {
    window.location.assign(await startLink(current));
  };
  return (
    <Section title={methods.oidc.name}>
      <p class="hint">
        {identity.subject === null
          ? `Link an account at ${methods.oidc.name}, to sign in with it instead of the password.`
          : `You can sign in with your account at ${methods.oidc.name}. Another account replaces it and ends all your sessions.`}
      </p>
      <Form
        submit={identity.subject === null ? "Link account" : "Link another account"}
        onSubmit={submit}
        disabled={!current}
      >
        <TextField
          label="Current password"
          type="password"
          autocomplete="current-password"
          value={current}
          onInput={setCurrent}
        />
      </Form>
    </Section>
  );
}
