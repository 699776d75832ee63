import { ADMINISTRATOR, DEVELOPER, type PersonFields } from "../../api/people.ts";
import { CheckBox, TextField } from "../../components/form.tsx";

interface Props {
  fields: PersonFields;
  change: (changes: Partial<PersonFields>) => void;
}

/** The form fields of a user, except the password. */
export function PersonFieldSet({ fields, change }: Props) {
  const setRole = (role: string, isOn: boolean) =>
    change({ roles: isOn ? [...fields.roles, role] : fields.roles.filter((other) => other !== role) });
  return (
    <>
      <div class="field-row">
        <TextField
          label="Username"
          required
          spellcheck={false}
          autocapitalize="none"
          value={fields.username}
          onInput={(username) => change({ username })}
        />
        <TextField
          label="E-mail address"
          type="email"
          hint="Mails about failed builds go here."
          value={fields.email}
          onInput={(email) => change({ email })}
        />
      </div>
      <div class="field-row">
        <TextField
          label="GitHub username"
          spellcheck={false}
          hint="Pushes by this GitHub user start builds in the name of this user."
          value={fields.github_username}
          onInput={(github_username) => change({ github_username })}
        />
        <TextField
          label="GitLab username"
          spellcheck={false}
          value={fields.gitlab_username}
          onInput={(gitlab_username) => change({ gitlab_username })}
        />
      </div>
      <fieldset class="field">
        <legend>Roles</legend>
        <CheckBox
          label="Developer"
          hint="Sees internal projects and the projects of which the user is a member, and may launch builds of the latter."
          checked={fields.roles.includes(DEVELOPER)}
          onChange={(isOn) => setRole(DEVELOPER, isOn)}
        />
        <CheckBox
          label="Administrator"
          hint="Manages everything: all projects, users, secrets, runners and the server."
          checked={fields.roles.includes(ADMINISTRATOR)}
          onChange={(isOn) => setRole(ADMINISTRATOR, isOn)}
        />
      </fieldset>
    </>
  );
}
