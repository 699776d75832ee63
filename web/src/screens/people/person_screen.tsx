import { useState } from "preact/hooks";
import {
  deletePerson,
  fieldsOf,
  getPerson,
  type Person,
  type PersonFields,
  savePerson,
  setPassword,
} from "../../api/people.ts";
import { useResource } from "../../api/resource.ts";
import { session } from "../../api/session.ts";
import { ConfirmButton } from "../../components/dialog.tsx";
import { CheckBox, Form, TextField } from "../../components/form.tsx";
import { Page, Section } from "../../components/page.tsx";
import { Loaded } from "../../components/states.tsx";
import { showToast } from "../../components/toasts.tsx";
import { useUnsavedChanges } from "../../components/unsaved_changes.ts";
import { navigate, url } from "../../router/location.ts";
import type { Parameters } from "../../router/routes.tsx";
import { HistoryLink } from "../history/history_link.tsx";
import { EnabledState, Roles } from "./people_screen.tsx";
import { PersonFieldSet } from "./person_fields.tsx";
import { PersonIdentity } from "./person_identity.tsx";
import { PersonKeys } from "./person_keys.tsx";
import { PersonTokens } from "./person_tokens.tsx";

/** A user: names, roles, password, account at the OpenID provider, SSH keys, tokens, and deletion. */
export default function PersonScreen({ parameters }: { parameters: Parameters }) {
  const id = Number(parameters.id);
  const resource = useResource(`person-${id}`, () => getPerson(id));
  return <Loaded resource={resource}>{(person) => <PersonPage person={person} reload={resource.reload} />}</Loaded>;
}

function PersonPage({ person, reload }: { person: Person; reload: () => void }) {
  const signedIn = session.value;
  const isMe = signedIn.status === "signed-in" && signedIn.user.id === person.id;
  return (
    <Page
      title={person.username}
      subtitle={
        <>
          <EnabledState enabled={person.enabled} /> <Roles roles={person.roles} />
        </>
      }
      parents={[{ name: "People", href: url("/people") }]}
      actions={<HistoryLink kind="user" id={person.id} />}
    >
      <div class="settings">
        <Details person={person} reload={reload} isMe={isMe} />
        <Password person={person} />
        <PersonIdentity userId={person.id} />
        <PersonKeys username={person.username} />
        <PersonTokens userId={person.id} />
        {!isMe && <Deletion person={person} />}
      </div>
    </Page>
  );
}

function Details({ person, reload, isMe }: { person: Person; reload: () => void; isMe: boolean }) {
  const saved = fieldsOf(person);
  const { changes, change, forget } = useUnsavedChanges<PersonFields>();
  const fields = { ...saved, ...changes };
  const isChanged = JSON.stringify(fields) !== JSON.stringify(saved);
  const submit = async () => {
    try {
      await savePerson(person, fields);
      forget(changes);
      showToast(`${fields.username} saved`);
    } finally {
      reload(); // because some fields may have been saved before an error
    }
  };
  return (
    <Section title="Account">
      <Form submit="Save" onSubmit={submit} disabled={!isChanged}>
        <PersonFieldSet fields={fields} change={change} />
        <CheckBox
          label="Enabled"
          hint={
            isMe
              ? "You cannot disable yourself here."
              : "A disabled user is signed out everywhere within two seconds, and pushes of this user start no builds."
          }
          disabled={isMe}
          checked={fields.enabled}
          onChange={(enabled) => change({ enabled })}
        />
      </Form>
    </Section>
  );
}

function Password({ person }: { person: Person }) {
  const [password, setNewPassword] = useState("");
  const submit = async () => {
    await setPassword(person.id, password);
    setNewPassword("");
    showToast(`Password of ${person.username} changed`);
  };
  return (
    <Section title="Password">
      <Form submit="Set password" onSubmit={submit} disabled={!password}>
        <TextField
          label="New password"
          type="password"
          autocomplete="new-password"
          hint="Ends all sessions and revokes all tokens of this user."
          value={password}
          onInput={setNewPassword}
        />
      </Form>
    </Section>
  );
}

function Deletion({ person }: { person: Person }) {
  const remove = async () => {
    await deletePerson(person.id);
    navigate(url("/people"));
    return `${person.username} deleted`;
  };
  return (
    <Section title="Delete">
      <p>The name and the e-mail address are erased everywhere. The history then shows a number instead of the name.</p>
      <ConfirmButton
        label="Delete user"
        kind="danger"
        title={`Delete ${person.username}?`}
        confirm="Delete"
        action={remove}
      >
        <p>
          All sessions, tokens and keys become invalid. This cannot be undone. To revoke access only, disable the user
          instead.
        </p>
      </ConfirmButton>
    </Section>
  );
}
