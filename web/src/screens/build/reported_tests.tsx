/** The tests of a build by result: their numbers, and the tests of one result with messages and stack traces. */
import { useState } from "preact/hooks";
import type { Overview } from "../../api/builds.ts";
import { useResource } from "../../api/resource.ts";
import { listTests, type ReportedTest, type TestCounts, type TestPage } from "../../api/tests.ts";
import { ActionButton } from "../../components/button.tsx";
import { Loaded } from "../../components/states.tsx";
import { StatusBadge } from "../../components/status_badge.tsx";
import { Segmented } from "../../components/tabs.tsx";
import {
  formatMilliseconds,
  STATUS_OF_TEST,
  STATUSES_OF_GROUP,
  type TestGroup,
  testGroups,
  testName,
  testPlace,
} from "../../format/tests.ts";
import { plural } from "../../format/text.ts";
import { location, setQuery } from "../../router/location.ts";

export function ReportedTests({ build: { id, tests } }: { build: Overview }) {
  if (!tests) return null;
  const groups = testGroups(tests);
  const wanted = location.value.query.get("tests");
  const group = groups.find(([name]) => name === wanted)?.[0] ?? (tests.failed + tests.errors > 0 ? "failed" : null);
  return (
    <section class="tests" aria-label="Tests">
      <header class="section-header">
        <h2>
          Tests <span class="count">{tests.total.toLocaleString("en")}</span>
        </h2>
        {groups.length > 0 && (
          <Segmented
            label="Tests by result"
            options={groups}
            value={group as TestGroup}
            onChange={(value) => setQuery({ tests: value })}
          />
        )}
      </header>
      <Warnings tests={tests} />
      {group && <TestsOfGroup key={`${id}-${group}-${tests.total}-${tests.failed}`} buildId={id} group={group} />}
    </section>
  );
}

function Warnings({ tests }: { tests: TestCounts }) {
  const warnings = tests.jobs.flatMap(({ job_name, warnings }) => warnings.map((text) => `${job_name}: ${text}`));
  if (warnings.length === 0) return null;
  return (
    <details class="notice tone-warning">
      <summary>{plural(warnings.length, "warning")} about the reports</summary>
      <ul>
        {warnings.map((text) => (
          <li key={text}>{text}</li>
        ))}
      </ul>
    </details>
  );
}

function TestsOfGroup({ buildId, group }: { buildId: number; group: TestGroup }) {
  const first = useResource(`tests-${buildId}-${group}`, () => listTests(buildId, STATUSES_OF_GROUP[group]));
  return <Loaded resource={first}>{(page) => <TestPages buildId={buildId} group={group} first={page} />}</Loaded>;
}

function TestPages({ buildId, group, first }: { buildId: number; group: TestGroup; first: TestPage }) {
  const [pages, setPages] = useState<TestPage[]>([first]);
  const next = pages.at(-1)?.next;
  const showMore = async () => {
    const page = await listTests(buildId, STATUSES_OF_GROUP[group], next ?? "");
    setPages((known) => [...known, page]);
    return undefined;
  };
  const hasJobs = first.summary.jobs.length > 1;
  return (
    <>
      <ul class="test-list">
        {pages.flatMap(({ tests }, page) =>
          tests.map((test, place) => <Test key={`${page}/${place}`} test={test} hasJobs={hasJobs} />),
        )}
      </ul>
      {next && <ActionButton action={showMore}>Show more</ActionButton>}
    </>
  );
}

function Test({ test, hasJobs }: { test: ReportedTest; hasJobs: boolean }) {
  const { status, job_name, duration_ms, message, details } = test;
  const place = testPlace(test);
  const line = (
    <>
      <StatusBadge status={STATUS_OF_TEST[status]} compact />
      <span class="test-name">{testName(test)}</span>
      <span class="test-facts">
        {hasJobs && <span>{job_name}</span>}
        {place && <code>{place}</code>}
        <span>{formatMilliseconds(duration_ms)}</span>
      </span>
    </>
  );
  if (!message && !details) return <li class="test">{line}</li>;
  return (
    <li>
      <details>
        <summary class="test">
          {line}
          {message && <span class="test-message">{message.split("\n", 1)[0]}</span>}
        </summary>
        <pre class="test-details">{[message, details].filter(Boolean).join("\n\n")}</pre>
      </details>
    </li>
  );
}
