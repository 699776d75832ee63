import { useState } from "preact/hooks";
import { type Company, createCompany, deleteCompany, type Person, saveCompany } from "../../api/people.ts";
import { Choice } from "../../components/choice.tsx";
import { ConfirmButton, Dialog } from "../../components/dialog.tsx";
import { Form, TextField } from "../../components/form.tsx";
import { showToast } from "../../components/toasts.tsx";

interface Props {
  /** The company to change; null creates one. */
  company: Company | null;
  people: Person[];
  onClose: () => void;
  reload: () => void;
}

export function CompanyDialog({ company, people, onClose, reload }: Props) {
  const [title, setTitle] = useState(company?.title ?? "");
  const [alias, setAlias] = useState(company?.alias ?? "");
  const [members, setMembers] = useState(company?.members_id ?? []);
  const submit = async () => {
    try {
      if (company) await saveCompany(company, title, alias, members);
      else await createCompany(title, alias, members);
      showToast(company ? `${title} saved` : `${title} created`);
      onClose();
    } finally {
      reload();
    }
  };
  return (
    <Dialog title={company ? company.title : "New company"} wide onClose={onClose}>
      <Form
        submit={company ? "Save" : "Create"}
        onSubmit={submit}
        buttons={
          company && (
            <ConfirmButton
              label="Delete"
              kind="danger"
              title={`Delete ${company.title}?`}
              confirm="Delete"
              action={async () => {
                await deleteCompany(company.id);
                reload();
                onClose();
                return `${company.title} deleted`;
              }}
            >
              <p>Its projects must get another owner first. Its runners are deleted.</p>
            </ConfirmButton>
          )
        }
      >
        <div class="field-row">
          <TextField label="Name" required autofocus={!company} value={title} onInput={setTitle} />
          <TextField
            label="Alias"
            spellcheck={false}
            hint="Part of URLs. Derived from the name if empty."
            value={alias}
            onInput={setAlias}
          />
        </div>
        <Choice
          legend="Members"
          options={people.map(({ id, username }) => ({ value: id, name: username }))}
          chosen={members}
          onChange={setMembers}
        />
      </Form>
    </Dialog>
  );
}
