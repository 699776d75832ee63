import { useState } from "preact/hooks";
import { getIdentity, saveIdentity } from "../../api/people.ts";
import { useResource } from "../../api/resource.ts";
import { getSignInMethods } from "../../api/session.ts";
import { Form, TextField } from "../../components/form.tsx";
import { Section } from "../../components/page.tsx";
import { showToast } from "../../components/toasts.tsx";

/** The account at the OpenID provider with which a user can sign in. Hidden if no provider is configured. */
export function PersonIdentity({ userId }: { userId: number }) {
  const methods = useResource("sign-in-methods", getSignInMethods);
  const identity = useResource(`identity-${userId}`, () => getIdentity(userId));
  const [changed, setChanged] = useState<string | null>(null);
  if (!methods.data?.oidc || !identity.data) return null;
  const saved = identity.data.subject ?? "";
  const subject = changed ?? saved;
  const submit = async () => {
    await saveIdentity(userId, subject);
    setChanged(null);
    identity.reload();
    showToast(subject ? "Account linked" : "Link removed");
  };
  return (
    <Section title={`Account at ${methods.data.oidc.name}`}>
      <Form submit="Save" onSubmit={submit} disabled={subject === saved}>
        <TextField
          label="Subject"
          hint="The identifier of the account at the provider (sub). Empty: no link. A change ends all sessions of a linked user."
          value={subject}
          onInput={setChanged}
        />
      </Form>
    </Section>
  );
}
