import { useState } from "preact/hooks";
import { type Company, listCompanies, listPeople } from "../../api/people.ts";
import { useResource } from "../../api/resource.ts";
import { Button } from "../../components/button.tsx";
import { Page } from "../../components/page.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { Table } from "../../components/table.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { plural } from "../../format/text.ts";
import { HistoryLink } from "../history/history_link.tsx";
import { CompanyDialog } from "./company_dialog.tsx";
import { PeopleTabs } from "./people_tabs.tsx";

async function load() {
  const [companies, people] = await Promise.all([listCompanies(), listPeople()]);
  return { companies, people };
}

/** Companies, whose members own projects and runners together. */
export default function CompaniesScreen() {
  const resource = useResource("companies", load);
  const [edited, setEdited] = useState<Company | "new" | null>(null);
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setEdited("new")}>
      New company
    </Button>
  );
  return (
    <Page title="Companies" actions={add}>
      <PeopleTabs selected="Companies" />
      <Loaded resource={resource}>
        {({ companies, people }) => (
          <>
            {companies.length ? (
              <Table
                caption="Companies"
                rows={companies}
                rowKey={({ id }) => id}
                columns={[
                  {
                    name: "Name",
                    kind: "wide",
                    cell: (company) => (
                      <div class="build-link">
                        <button type="button" class="row-link" onClick={() => setEdited(company)}>
                          {company.title}
                        </button>
                        <span class="facts">{company.alias}</span>
                      </div>
                    ),
                  },
                  { name: "Members", kind: "narrow", cell: ({ members_id }) => plural(members_id.length, "member") },
                  { name: "Created", kind: "narrow", cell: ({ created_at }) => <RelativeTime time={created_at} /> },
                  {
                    name: "Actions",
                    kind: "actions",
                    cell: (company) => (
                      <>
                        <HistoryLink kind="company" id={company.id} />
                        <Button kind="quiet" onClick={() => setEdited(company)}>
                          Open
                        </Button>
                      </>
                    ),
                  },
                ]}
              />
            ) : (
              <Empty icon="people" title="No companies yet">
                <p>
                  A company owns projects and runners. All its members may do what an owner may, and its runners serve
                  only its projects.
                </p>
                {add}
              </Empty>
            )}
            {edited && (
              <CompanyDialog
                company={edited === "new" ? null : edited}
                people={people}
                onClose={() => setEdited(null)}
                reload={resource.reload}
              />
            )}
          </>
        )}
      </Loaded>
    </Page>
  );
}
