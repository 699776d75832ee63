import { useState } from "preact/hooks";
import { useResource } from "../../api/resource.ts";
import { type Environment, getEnvironment, sendTestMail } from "../../api/server.ts";
import { Form, TextField } from "../../components/form.tsx";
import { Page, Section } from "../../components/page.tsx";
import { Loaded } from "../../components/states.tsx";
import { showToast } from "../../components/toasts.tsx";
import { formatDuration } from "../../format/time.ts";
import { url } from "../../router/location.ts";
import { Mails } from "./mails.tsx";

/** The server's settings, which are environment variables and cannot be changed here, its mails, and further links. */
export default function SettingsScreen() {
  const environment = useResource("environment", getEnvironment);
  return (
    <Page title="Settings">
      <div class="settings">
        <Section title="This server">
          <Loaded resource={environment} rows={3}>
            {(settings) => <Facts settings={settings} />}
          </Loaded>
          <p class="hint">
            Settings are environment variables of the services, <code>HEADRACE_…</code>. Changes need a restart, one
            replica after the other.
          </p>
        </Section>
        <TestMail isConfigured={Boolean(environment.data?.["mail.host"])} />
        <Section title="About">
          <ul class="plain-list">
            <li>
              <span>
                <a href={url("/system")}>System map</a>: services, versions and streams
              </span>
            </li>
            <li>
              <span>
                <a href={url("/history")}>Activity</a>: who changed what, and when
              </span>
            </li>
            <li>
              <a href="/api/docs" target="_blank" rel="noreferrer">
                API documentation
              </a>
            </li>
            <li>
              <a href="/ui/licenses">Licenses of this page</a>
            </li>
          </ul>
        </Section>
      </div>
      <Mails />
    </Page>
  );
}

function Facts({ settings }: { settings: Environment }) {
  const host = settings["mail.host"];
  const lifetime = settings["jwt.life-time"];
  const facts: [name: string, value: string][] = [
    ["Address", window.location.origin],
    ["Mail server", host ? `${host}, port ${settings["mail.port"]}` : "none: mails are recorded, but not sent"],
    ["Sender of mails", settings["mail.from"] ?? "none"],
    ["Sign-in lasts", lifetime ? `${formatDuration(Number(lifetime))}, renewed while the page is open` : "unknown"],
    ["First administrator", settings["default.admin.username"] ?? "none"],
    ["Concurrent builds", settings["max.parallel.executor"] ?? "as many as the runners take"],
  ];
  return (
    <dl class="facts-list wide-names">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function TestMail({ isConfigured }: { isConfigured: boolean }) {
  const [recipient, setRecipient] = useState("");
  const submit = async () => {
    await sendTestMail(recipient);
    showToast(`A test mail to ${recipient} was requested`);
  };
  return (
    <Section title="Mail">
      {!isConfigured && (
        <p class="notice tone-warning">
          No mail server is set, so mails are recorded, but not sent. Set <code>HEADRACE_MAIL_HOST</code>.
        </p>
      )}
      <Form submit="Send test mail" onSubmit={submit} disabled={!recipient}>
        <TextField
          label="Recipient"
          type="email"
          hint="The result appears in the list of mails below."
          value={recipient}
          onInput={setRecipient}
        />
      </Form>
    </Section>
  );
}
