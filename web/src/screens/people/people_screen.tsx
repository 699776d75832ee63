import { useState } from "preact/hooks";
import {
  ADMINISTRATOR,
  createPerson,
  DEVELOPER,
  listPeople,
  type Person,
  type PersonFields,
} from "../../api/people.ts";
import { useResource } from "../../api/resource.ts";
import { Button } from "../../components/button.tsx";
import { Dialog } from "../../components/dialog.tsx";
import { Form, TextField } from "../../components/form.tsx";
import { StatusShape } from "../../components/icons.tsx";
import { Page } from "../../components/page.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { Table } from "../../components/table.tsx";
import { navigate, url } from "../../router/location.ts";
import { PeopleTabs } from "./people_tabs.tsx";
import { PersonFieldSet } from "./person_fields.tsx";

const NEW: PersonFields = {
  username: "",
  email: "",
  github_username: "",
  gitlab_username: "",
  roles: [DEVELOPER],
  enabled: true,
};

/** All users with their roles. */
export default function PeopleScreen() {
  const resource = useResource("people", listPeople);
  const [isAdding, setAdding] = useState(false);
  const [filter, setFilter] = useState("");
  const matches = ({ username, email }: Person) => `${username} ${email ?? ""}`.toLowerCase().includes(filter);
  return (
    <Page
      title="People"
      actions={
        <Button kind="primary" icon="plus" onClick={() => setAdding(true)}>
          New user
        </Button>
      }
    >
      <PeopleTabs selected="People" />
      <div class="filter">
        <input
          type="search"
          aria-label="Filter people"
          placeholder="Filter by name or e-mail address"
          onInput={({ currentTarget }) => setFilter(currentTarget.value.trim().toLowerCase())}
        />
      </div>
      <Loaded resource={resource}>
        {(people) => {
          const shown = people.filter(matches);
          if (shown.length === 0) return <Empty icon="people" title="No user has this name or address" />;
          return (
            <Table
              caption="People"
              rows={shown}
              rowKey={({ id }) => id}
              columns={[
                {
                  name: "Name",
                  kind: "wide",
                  cell: ({ id, username, email }) => (
                    <div class="build-link">
                      <a href={url(`/people/${id}`)}>{username}</a>
                      <span class="facts">{email ?? "no e-mail address"}</span>
                    </div>
                  ),
                },
                { name: "Roles", kind: "narrow", cell: ({ roles }) => <Roles roles={roles} /> },
                { name: "At GitHub", cell: ({ github_username }) => github_username ?? <span class="muted">–</span> },
                { name: "At GitLab", cell: ({ gitlab_username }) => gitlab_username ?? <span class="muted">–</span> },
                { name: "State", kind: "narrow", cell: ({ enabled }) => <EnabledState enabled={enabled} /> },
              ]}
            />
          );
        }}
      </Loaded>
      {isAdding && <NewPersonDialog onClose={() => setAdding(false)} />}
    </Page>
  );
}

export function Roles({ roles }: { roles: string[] }) {
  return (
    <>
      {roles.includes(ADMINISTRATOR) && <span class="tag">administrator</span>}{" "}
      {roles.includes(DEVELOPER) && <span class="tag plain">developer</span>}
    </>
  );
}

export function EnabledState({ enabled }: { enabled: boolean }) {
  return (
    <span class={`status tone-${enabled ? "success" : "neutral"}`}>
      <StatusShape shape={enabled ? "check" : "slash"} />
      <span class="word">{enabled ? "Enabled" : "Disabled"}</span>
    </span>
  );
}

function NewPersonDialog({ onClose }: { onClose: () => void }) {
  const [fields, setFields] = useState(NEW);
  const [password, setPassword] = useState("");
  const submit = async () => {
    const { id } = await createPerson(fields, password);
    navigate(url(`/people/${id}`));
  };
  return (
    <Dialog title="New user" wide onClose={onClose}>
      <Form submit="Create" onSubmit={submit}>
        <PersonFieldSet fields={fields} change={(changes) => setFields({ ...fields, ...changes })} />
        <TextField
          label="Password"
          type="password"
          autocomplete="new-password"
          required
          hint="At least 8 characters, and not a common password. The user can change it under “My account”."
          value={password}
          onInput={setPassword}
        />
      </Form>
    </Dialog>
  );
}
