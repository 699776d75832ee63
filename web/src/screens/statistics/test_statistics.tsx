/** The flaky and the slowest tests of a project's latest builds. Without reports, nothing is shown. */
import { useResource } from "../../api/resource.ts";
import { type FlakyTest, loadTestStatistics, type SlowTest } from "../../api/tests.ts";
import { Section } from "../../components/page.tsx";
import { Loaded } from "../../components/states.tsx";
import { Table } from "../../components/table.tsx";
import { formatMilliseconds, testName } from "../../format/tests.ts";
import { plural } from "../../format/text.ts";
import { url } from "../../router/location.ts";

export function TestStatistics({ project }: { project: number }) {
  const resource = useResource(`test-statistics-${project}`, () => loadTestStatistics(project));
  return (
    <Loaded resource={resource}>
      {({ builds, flaky, slowest }) =>
        builds > 0 && (
          <>
            <Section title="Flaky tests">
              <p class="hint">
                {`Tests that passed and failed with one commit, or changed at least three times on one branch, in the latest ${plural(builds, "build")} with reports.`}
              </p>
              {flaky.length > 0 ? <Flaky tests={flaky} /> : <p>There are none.</p>}
            </Section>
            {slowest.length > 0 && (
              <Section title="Slowest tests">
                <Slowest tests={slowest} />
              </Section>
            )}
          </>
        )
      }
    </Loaded>
  );
}

const key = (test: FlakyTest | SlowTest) => `${test.job_name}/${test.file}/${testName(test)}`;

function Flaky({ tests }: { tests: FlakyTest[] }) {
  return (
    <Table
      caption="Flaky tests"
      rows={tests}
      rowKey={key}
      columns={[
        { name: "Test", kind: "wide", cell: (test) => <strong class="test-name">{testName(test)}</strong> },
        { name: "Job", cell: ({ job_name }) => job_name },
        { name: "Runs", kind: "number", cell: ({ runs }) => runs },
        { name: "Failed", kind: "number", cell: ({ failed }) => failed },
        { name: "Changes", kind: "number", cell: ({ changes }) => changes },
        { name: "One commit", cell: ({ same_commit }) => (same_commit ? "yes" : "no") },
        { name: "Last failure", cell: ({ last_failed_build_id: id }) => <BuildLink id={id} tests="failed" /> },
      ]}
    />
  );
}

function Slowest({ tests }: { tests: SlowTest[] }) {
  return (
    <Table
      caption="Slowest tests"
      rows={tests}
      rowKey={key}
      columns={[
        { name: "Test", kind: "wide", cell: (test) => <strong class="test-name">{testName(test)}</strong> },
        { name: "Job", cell: ({ job_name }) => job_name },
        { name: "Mean", kind: "number", cell: ({ mean_ms }) => formatMilliseconds(mean_ms) },
        { name: "Longest", kind: "number", cell: ({ max_ms }) => formatMilliseconds(max_ms) },
        { name: "Last build", cell: ({ last_build_id: id }) => <BuildLink id={id} /> },
      ]}
    />
  );
}

function BuildLink({ id, tests }: { id: number; tests?: string }) {
  return <a href={url(`/builds/${id}`, { tests: tests ?? null })}>{id}</a>;
}
