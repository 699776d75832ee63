/** Facts about a build: commit, initiator and times; and notices, such as why it failed. */
import type { ComponentChildren } from "preact";
import type { Overview } from "../../api/builds.ts";
import { isAdministrator } from "../../api/session.ts";
import { Icon } from "../../components/icons.tsx";
import { Duration, RelativeTime } from "../../components/times.tsx";
import { formatRef, plural, shortSha } from "../../format/text.ts";
import { url } from "../../router/location.ts";
import { Initiator } from "../shared/builds_table.tsx";

export function BuildFacts({ build }: { build: Overview }) {
  const { ref, branch, sha, created_at, started_at, completed_at, priority, ignored_steps, coverage } = build;
  return (
    <dl class="build-facts">
      <Fact name="Branch">
        <Icon name="branch" /> {formatRef(ref) || branch}
      </Fact>
      {sha && (
        <Fact name="Commit">
          <Icon name="commit" /> <code title={sha}>{shortSha(sha)}</code>
        </Fact>
      )}
      <Fact name="Started by">
        <Initiator build={build} />
      </Fact>
      {build.delivery_id && isAdministrator() && (
        <Fact name="Webhook">
          <a href={url("/webhooks", { delivery: build.delivery_id })}>Delivery {build.delivery_id.slice(0, 8)}</a>
        </Fact>
      )}
      {build.schedule && (
        <Fact name="Schedule">
          <a href={url(`/projects/${build.project.id}/schedules`)}>
            {build.schedule.description || `Schedule ${build.schedule.id}`}
          </a>
        </Fact>
      )}
      <Fact name="Queued">
        <RelativeTime time={created_at} />
      </Fact>
      <Fact name="Waited">
        <Duration start={created_at} end={started_at ?? completed_at} />
      </Fact>
      {started_at && (
        <Fact name={completed_at ? "Took" : "Runs for"}>
          <Duration start={started_at} end={completed_at} />
        </Fact>
      )}
      {coverage != null && <Fact name="Coverage">{coverage} %</Fact>}
      {priority !== 0 && <Fact name="Priority">{priority}</Fact>}
      {ignored_steps.length > 0 && <Fact name="Skipped steps">{ignored_steps.join(", ")}</Fact>}
    </dl>
  );
}

/** The variables that the launch set. Their values are not secret. */
export function BuildVariables({ variables }: Pick<Overview, "variables">) {
  if (variables.length === 0) return null;
  return (
    <details class="build-variables" open={variables.length <= 5}>
      <summary>{plural(variables.length, "variable")} set at the launch</summary>
      <dl>
        {variables.map(({ name, value }) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Why the build waits, failed or was canceled, and warnings about its pipeline file. */
export function BuildNotices({ build }: { build: Overview }) {
  const { waiting_for, exit_message, output, killed_by, warnings, status } = build;
  const reason = [exit_message, output !== exit_message && output].filter(Boolean).join(" ");
  return (
    <>
      {waiting_for && (
        <div class="notice tone-waiting big">
          <p>
            <strong>Waiting:</strong> {waiting_for}
          </p>
          <p>
            <a href={url("/runners")}>See the runners</a> or <a href={url("/queue")}>the queue</a>.
          </p>
        </div>
      )}
      {status === "FAILED" && reason && <p class="notice tone-failure build-output">{reason}</p>}
      {killed_by && <p class="notice tone-neutral">Canceled by {killed_by.name}.</p>}
      {warnings.length > 0 && (
        <details class="notice tone-warning" open={warnings.length <= 2}>
          <summary>
            {warnings.length === 1 ? "1 warning" : `${warnings.length} warnings`} about the pipeline file
          </summary>
          <ul>
            {warnings.map((warning) => (
              <li key={warning}>{warning}</li>
            ))}
          </ul>
        </details>
      )}
    </>
  );
}
