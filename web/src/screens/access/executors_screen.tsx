import { useState } from "preact/hooks";
import { createExecutor, deleteExecutor, type Executor, listExecutors, saveExecutor } from "../../api/job_access.ts";
import { useResource } from "../../api/resource.ts";
import { Button } from "../../components/button.tsx";
import { ConfirmButton, Dialog } from "../../components/dialog.tsx";
import { Form, TextArea, TextField } from "../../components/form.tsx";
import { Page } from "../../components/page.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { Table } from "../../components/table.tsx";
import { showToast } from "../../components/toasts.tsx";
import { plural } from "../../format/text.ts";
import { HistoryLink } from "../history/history_link.tsx";
import { AccessTabs } from "./access_tabs.tsx";
import { formatVariables, parseVariables } from "./variables.ts";

/** Executors: named sets of variables. Each project uses one of them. */
export default function ExecutorsScreen() {
  const resource = useResource("executors", listExecutors);
  const [edited, setEdited] = useState<Executor | "new" | null>(null);
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setEdited("new")}>
      New executor
    </Button>
  );
  return (
    <Page title="Executors" actions={add}>
      <AccessTabs selected="Executors" />
      <Loaded resource={resource}>
        {(executors) =>
          executors.length ? (
            <Table
              caption="Executors"
              rows={executors}
              rowKey={({ id }) => id}
              columns={[
                {
                  name: "Name",
                  kind: "wide",
                  cell: (executor) => (
                    <button type="button" class="row-link" onClick={() => setEdited(executor)}>
                      {executor.name}
                    </button>
                  ),
                },
                {
                  name: "Variables",
                  kind: "narrow",
                  cell: ({ variables }) => plural(Object.keys(variables).length, "variable"),
                },
                { name: "Driver", cell: ({ driver }) => <span class="muted">{driver}</span> },
                {
                  name: "Actions",
                  kind: "actions",
                  cell: (executor) => (
                    <>
                      <HistoryLink kind="executor" id={executor.id} />
                      <Button kind="quiet" onClick={() => setEdited(executor)}>
                        Open
                      </Button>
                    </>
                  ),
                },
              ]}
            />
          ) : (
            <Empty icon="settings" title="No executors yet">
              <p>Every project names an executor. One named “default” is enough unless variables differ.</p>
              {add}
            </Empty>
          )
        }
      </Loaded>
      <p class="hint below">
        Scripts of jobs see the variables of the executor that their project names. Runners and their tags decide where
        jobs run; the driver is kept for Free Commit and has no effect.
      </p>
      {edited && (
        <ExecutorDialog
          executor={edited === "new" ? null : edited}
          onClose={() => setEdited(null)}
          reload={resource.reload}
        />
      )}
    </Page>
  );
}

interface DialogProps {
  executor: Executor | null;
  onClose: () => void;
  reload: () => void;
}

function ExecutorDialog({ executor, onClose, reload }: DialogProps) {
  const [name, setName] = useState(executor?.name ?? "");
  const [text, setText] = useState(formatVariables(executor?.variables ?? {}));
  const submit = async () => {
    const variables = parseVariables(text);
    try {
      if (executor) await saveExecutor(executor, name, variables);
      else await createExecutor(name, variables);
      showToast(executor ? `${name} saved` : `${name} created`);
      onClose();
    } finally {
      reload();
    }
  };
  return (
    <Dialog title={executor ? executor.name : "New executor"} wide onClose={onClose}>
      <Form
        submit={executor ? "Save" : "Create"}
        onSubmit={submit}
        buttons={
          executor && (
            <ConfirmButton
              label="Delete"
              kind="danger"
              title={`Delete ${executor.name}?`}
              confirm="Delete"
              action={async () => {
                await deleteExecutor(executor.id);
                reload();
                onClose();
                return `${executor.name} deleted`;
              }}
            >
              <p>Projects that use it must get another executor first.</p>
            </ConfirmButton>
          )
        }
      >
        <TextField label="Name" required autofocus={!executor} value={name} onInput={setName} />
        <TextArea
          label="Variables"
          rows={6}
          placeholder="NAME=value"
          hint="One per line. They are stored encrypted; administrators see them here."
          value={text}
          onInput={setText}
        />
      </Form>
    </Dialog>
  );
}
