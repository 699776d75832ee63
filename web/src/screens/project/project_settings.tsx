import { type Settings, saveSettings, settingsOf } from "../../api/project_settings.ts";
import { deleteProject, type Project } from "../../api/projects.ts";
import { ConfirmButton } from "../../components/dialog.tsx";
import { CheckBox, Form, SelectField, TextArea, TextField } from "../../components/form.tsx";
import { Section } from "../../components/page.tsx";
import { showToast } from "../../components/toasts.tsx";
import { useUnsavedChanges } from "../../components/unsaved_changes.ts";
import { navigate, url } from "../../router/location.ts";
import { MailRuleSettings } from "../notifications/mail_rule_settings.tsx";
import { NotificationSettings } from "../notifications/notification_settings.tsx";
import { BadgeLinks } from "./badge_links.tsx";
import { ForgeSettings } from "./forge_settings.tsx";
import { LimitFields } from "./limit_fields.tsx";
import { WebhookSettings } from "./webhook_settings.tsx";

interface Props {
  project: Project;
  reload: () => void;
}

/** The settings of a project, one form per group. */
export function ProjectSettings({ project, reload }: Props) {
  return (
    <div class="settings">
      <SettingsForm title="General" project={project} reload={reload}>
        {(settings, change) => (
          <>
            <TextField label="Name" required value={settings.name} onInput={(name) => change({ name })} />
            <TextField
              label="Description"
              value={settings.description}
              onInput={(description) => change({ description })}
            />
            <SelectField
              label="Visibility"
              hint="To all other users, a private project does not exist."
              value={settings.visibility}
              options={[
                ["internal", "Internal: all signed-in users see it"],
                ["private", "Private: members, the owner and administrators see it"],
              ]}
              onChange={(visibility) => change({ visibility })}
            />
          </>
        )}
      </SettingsForm>
      <SettingsForm title="Source" project={project} reload={reload}>
        {(settings, change) => (
          <>
            <TextField
              label="Repository"
              required
              value={settings.repository}
              onInput={(repository) => change({ repository })}
            />
            <div class="field-row">
              <TextField
                label="Branch"
                required
                hint="* builds every branch"
                value={settings.branch}
                onInput={(branch) => change({ branch })}
              />
              <TextField
                label="Pipeline file"
                required
                hint="Path in the repository"
                value={settings.spec_file_path}
                onInput={(spec_file_path) => change({ spec_file_path })}
              />
            </div>
            <TextArea
              label="Protected branches"
              rows={3}
              hint="One per line; * matches any text. Protected runners run only jobs of these branches."
              value={settings.protected_branches.join("\n")}
              onInput={(text) => change({ protected_branches: text.split("\n") })}
            />
          </>
        )}
      </SettingsForm>
      <SettingsForm title="Builds" project={project} reload={reload}>
        {(settings, change) => (
          <>
            <LimitFields retention={settings} change={change} />
            <CheckBox
              label="Run builds at the same time"
              hint="Otherwise a build waits until the previous one has finished."
              checked={settings.allow_concurrent_execution}
              onChange={(allow_concurrent_execution) => change({ allow_concurrent_execution })}
            />
          </>
        )}
      </SettingsForm>
      <SettingsForm title="Badge" project={project} reload={reload}>
        {(settings, change) => (
          <>
            <CheckBox
              label="Publish the result of the last build"
              hint="The badge and the entry in cc.xml are visible without a sign-in, even if the project is private."
              checked={settings.badges}
              onChange={(badges) => change({ badges })}
            />
            {project.badges && <BadgeLinks project={project} />}
          </>
        )}
      </SettingsForm>
      <SettingsForm title="Pushes and pull requests" project={project} reload={reload}>
        {(settings, change) => (
          <>
            <CheckBox
              label="Build tags"
              hint="Otherwise only pushes to branches start builds."
              checked={settings.build_tags}
              onChange={(build_tags) => change({ build_tags })}
            />
            <SelectField
              label="Pull and merge requests"
              hint="Builds of forks get no secrets, and start when a maintainer approves them."
              value={settings.build_pull_requests}
              options={[
                ["none", "Build none"],
                ["branches", "Build those of branches of the repository"],
                ["forks", "Build those of forks, too"],
              ]}
              onChange={(build_pull_requests) => change({ build_pull_requests })}
            />
            <SelectField
              label="Builds that a newer push supersedes"
              hint="Builds that a user launched always stay."
              value={settings.superseded_builds}
              options={[
                ["keep", "Keep them"],
                ["waiting", "Cancel those that have not started"],
                ["all", "Cancel them all"],
              ]}
              onChange={(superseded_builds) => change({ superseded_builds })}
            />
          </>
        )}
      </SettingsForm>
      <WebhookSettings project={project} reload={reload} />
      <ForgeSettings project={project} reload={reload} />
      <NotificationSettings project={project} />
      <MailRuleSettings project={project} />
      <Section title="Delete">
        <p>All builds of the project with their logs and artifacts are deleted. Its history stays.</p>
        <ConfirmButton
          label="Delete project"
          kind="danger"
          title={`Delete ${project.name}?`}
          confirm="Delete"
          action={() => remove(project)}
        >
          <p>All its builds, logs and artifacts are deleted. This cannot be undone.</p>
        </ConfirmButton>
      </Section>
    </div>
  );
}

async function remove(project: Project): Promise<string> {
  await deleteProject(project.id);
  navigate(url("/projects"));
  return `Project ${project.name} deleted`;
}

interface SettingsFormProps extends Props {
  title: string;
  children: (settings: Settings, change: (changes: Partial<Settings>) => void) => preact.ComponentChildren;
}

function SettingsForm({ title, project, reload, children }: SettingsFormProps) {
  const saved = settingsOf(project);
  const { changes, change, forget } = useUnsavedChanges<Settings>();
  const settings = { ...saved, ...changes };
  const isChanged = JSON.stringify(settings) !== JSON.stringify(saved);
  const submit = async () => {
    const protected_branches = settings.protected_branches.map((branch) => branch.trim()).filter(Boolean);
    try {
      await saveSettings(project.id, saved, { ...settings, protected_branches });
      forget(changes);
      showToast(`${title} settings saved`);
    } finally {
      reload(); // because some settings may have been saved before an error
    }
  };
  return (
    <Section title={title}>
      <Form submit="Save" onSubmit={submit} disabled={!isChanged}>
        {children(settings, change)}
      </Form>
    </Section>
  );
}
