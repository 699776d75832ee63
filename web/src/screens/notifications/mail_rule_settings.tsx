import { changeMailRule, getMailRule, type MailRule } from "../../api/notifications.ts";
import type { Project } from "../../api/projects.ts";
import { useResource } from "../../api/resource.ts";
import { Form, SelectField } from "../../components/form.tsx";
import { Section } from "../../components/page.tsx";
import { showToast } from "../../components/toasts.tsx";
import { useUnsavedChanges } from "../../components/unsaved_changes.ts";

/** The user's own settings of mails about the builds of the project. */
export function MailRuleSettings({ project }: { project: Project }) {
  const rule = useResource(`mail-rule-${project.id}`, () => getMailRule(project.id));
  const { changes, change, forget } = useUnsavedChanges<MailRule>();
  if (!rule.data) return null;
  const input = { ...rule.data, ...changes };
  const submit = async () => {
    await changeMailRule(input);
    forget(changes);
    rule.reload();
    showToast("Mails saved");
  };
  const isChanged = input.events !== rule.data.events || input.builds !== rule.data.builds;
  return (
    <Section title="Mails to you">
      <Form submit="Save" onSubmit={submit} disabled={!isChanged}>
        <div class="field-row">
          <SelectField
            label="Mails about"
            value={input.events}
            options={[
              ["failed", "Failures"],
              ["fixed", "Failures and fixes"],
              ["always", "All results"],
              ["never", "Nothing"],
            ]}
            onChange={(events) => change({ events })}
          />
          <SelectField
            label="Of"
            value={input.builds}
            options={[
              ["own", "Builds that you launched"],
              ["all", "All builds"],
            ]}
            onChange={(builds) => change({ builds })}
          />
        </div>
      </Form>
    </Section>
  );
}
