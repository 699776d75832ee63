import { useState } from "preact/hooks";
import { createToken, type NewApiToken } from "../../api/account.ts";
import { Button } from "../../components/button.tsx";
import { CopyField } from "../../components/copy.tsx";
import { Dialog } from "../../components/dialog.tsx";
import { CheckBox, Form, SelectField, TextField } from "../../components/form.tsx";
import { SCOPE_GROUPS } from "../people/scopes.ts";

const DAY_MS = 86_400_000;
const PERIODS: [days: string, text: string][] = [
  ["30", "in 30 days"],
  ["90", "in 90 days"],
  ["365", "in a year"],
  ["", "never"],
];

interface Props {
  onClose: () => void;
  onCreated: () => void;
}

/** Create a token: name, expiry date, scopes. Its value is shown once. */
export function NewTokenDialog({ onClose, onCreated }: Props) {
  const [created, setCreated] = useState<NewApiToken | null>(null);
  if (created) return <CreatedToken token={created} onClose={onClose} />;
  return (
    <TokenForm
      onClose={onClose}
      onCreated={(token) => {
        setCreated(token);
        onCreated();
      }}
    />
  );
}

function CreatedToken({ token, onClose }: { token: NewApiToken; onClose: () => void }) {
  return (
    <Dialog title={`Token ${token.name}`} wide onClose={onClose}>
      <div class="dialog-body">
        <p class="notice tone-warning">Copy the token now. It is shown only this once and cannot be looked up later.</p>
        <CopyField lines label="token" text={token.value} />
        <p>Send it with each request:</p>
        <CopyField
          lines
          label="command"
          text={`curl ${window.location.origin}/api/user/info -H "Authorization: Bearer $TOKEN"`}
        />
      </div>
      <div class="form-buttons">
        <Button kind="primary" onClick={onClose}>
          Done
        </Button>
      </div>
    </Dialog>
  );
}

function TokenForm({ onClose, onCreated }: { onClose: () => void; onCreated: (token: NewApiToken) => void }) {
  const [name, setName] = useState("");
  const [days, setDays] = useState("90");
  const [isLimited, setLimited] = useState(true);
  const [scopes, setScopes] = useState<string[]>(["PROJECT_READ", "BUILD_READ"]);
  const submit = async () => {
    const end = days ? new Date(Date.now() + Number(days) * DAY_MS).toISOString().slice(0, 10) : null;
    onCreated(await createToken(name, isLimited ? scopes : [], end));
  };
  const toggle = (scope: string, isOn: boolean) =>
    setScopes(isOn ? [...scopes, scope] : scopes.filter((other) => other !== scope));
  return (
    <Dialog title="New token" wide onClose={onClose}>
      <Form submit="Create token" onSubmit={submit} disabled={!name || (isLimited && scopes.length === 0)}>
        <div class="field-row">
          <TextField label="Name" required autofocus placeholder="nightly script" value={name} onInput={setName} />
          <SelectField label="Ends" value={days} options={PERIODS} onChange={setDays} />
        </div>
        <CheckBox
          label="Limit to the scopes selected here"
          hint="Otherwise the token has all your rights."
          checked={isLimited}
          onChange={setLimited}
        />
        {isLimited && (
          <fieldset class="field">
            <legend>Scopes</legend>
            <table class="scopes">
              <tbody>
                {SCOPE_GROUPS.map(({ name: group, about, scopes: all }) => (
                  <tr key={group}>
                    <th scope="row">
                      {group}
                      <span class="hint">{about}</span>
                    </th>
                    {all.map(([scope, word]) => (
                      <td key={scope}>
                        <CheckBox
                          label={<ScopeName group={group} word={word} />}
                          checked={scopes.includes(scope)}
                          onChange={(isOn) => toggle(scope, isOn)}
                        />
                      </td>
                    ))}
                  </tr>
                ))}
              </tbody>
            </table>
          </fieldset>
        )}
      </Form>
    </Dialog>
  );
}

function ScopeName({ group, word }: { group: string; word: string }) {
  return (
    <>
      <span class="visually-hidden">{group}: </span>
      {word}
    </>
  );
}
