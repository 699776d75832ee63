import { useState } from "preact/hooks";
import { changeEmail, changePassword } from "../../api/account.ts";
import { session, signOut } from "../../api/session.ts";
import { Form, TextField } from "../../components/form.tsx";
import { Page, Section } from "../../components/page.tsx";
import { showToast } from "../../components/toasts.tsx";
import { MyIdentity } from "./my_identity.tsx";
import { MyTokens } from "./my_tokens.tsx";

/** The account of the signed-in user: tokens, password, e-mail address, account at the OpenID provider. */
export default function MeScreen() {
  const state = session.value;
  if (state.status !== "signed-in") return null;
  return (
    <Page title="My account" subtitle={state.user.username}>
      <MyTokens />
      <div class="settings below">
        <Password username={state.user.username} />
        <Email />
        <MyIdentity />
      </div>
    </Page>
  );
}

function Password({ username }: { username: string }) {
  const [current, setCurrent] = useState("");
  const [password, setPassword] = useState("");
  const [repeated, setRepeated] = useState("");
  const differs = repeated !== "" && repeated !== password;
  const submit = async () => {
    await changePassword(current, password);
    showToast("Password changed. Sign in with the new one.");
    await signOut();
  };
  return (
    <Section title="Password">
      <p class="hint">A new password ends all your sessions, including this one, and revokes all your tokens.</p>
      <Form submit="Change password" onSubmit={submit} disabled={!current || !password || repeated !== password}>
        <input hidden autocomplete="username" value={username} readOnly />
        <TextField
          label="Current password"
          type="password"
          autocomplete="current-password"
          value={current}
          onInput={setCurrent}
        />
        <div class="field-row">
          <TextField
            label="New password"
            type="password"
            autocomplete="new-password"
            value={password}
            onInput={setPassword}
          />
          <TextField
            label="New password again"
            type="password"
            autocomplete="new-password"
            error={differs ? "The two passwords differ." : undefined}
            value={repeated}
            onInput={setRepeated}
          />
        </div>
      </Form>
    </Section>
  );
}

function Email() {
  const [current, setCurrent] = useState("");
  const [email, setEmail] = useState("");
  const submit = async () => {
    await changeEmail(current, email);
    setCurrent("");
    showToast(email ? `Mails are now sent to ${email}` : "Mails are no longer sent to you");
  };
  return (
    <Section title="E-mail address">
      <p class="hint">You get a mail when a build that you launched fails.</p>
      <Form submit="Change address" onSubmit={submit} disabled={!current}>
        <div class="field-row">
          <TextField
            label="New address"
            type="email"
            autocomplete="email"
            hint="Empty: no mails."
            value={email}
            onInput={setEmail}
          />
          <TextField
            label="Current password"
            type="password"
            autocomplete="current-password"
            value={current}
            onInput={setCurrent}
          />
        </div>
      </Form>
    </Section>
  );
}
