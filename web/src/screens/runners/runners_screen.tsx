import { useState } from "preact/hooks";
import { useResource } from "../../api/resource.ts";
import {
  deleteRunner,
  type FleetRunner,
  getFleet,
  pauseRunner,
  type RunnerJob,
  setRunnerActive,
} from "../../api/runners.ts";
import { isAdministrator } from "../../api/session.ts";
import { ActionButton, Button } from "../../components/button.tsx";
import { ConfirmButton } from "../../components/dialog.tsx";
import { StatusShape } from "../../components/icons.tsx";
import { Page } from "../../components/page.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { Duration, RelativeTime } from "../../components/times.tsx";
import { plural } from "../../format/text.ts";
import { url } from "../../router/location.ts";
import { isAboutRunners } from "../shared/live_filters.ts";
import { AddRunnerDialog } from "./add_runner_dialog.tsx";
import { RunnerPresence } from "./runner_presence.tsx";

const SCOPES: Record<string, string> = { INSTANCE: "everyone", COMPANY: "one company", PROJECT: "one project" };

/** All runners with their current jobs. */
export default function RunnersScreen() {
  const fleet = useResource("fleet", getFleet, { refreshOn: isAboutRunners });
  const [isAdding, setAdding] = useState(false);
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setAdding(true)}>
      Add a runner
    </Button>
  );
  return (
    <Page title="Runners" actions={isAdministrator() && add}>
      <Loaded resource={fleet}>
        {({ runners, waiting_jobs }) =>
          runners.length ? (
            <>
              <p class="summary">
                {plural(runners.filter(({ online }) => online).length, "runner")} online,{" "}
                {plural(runners.filter(({ jobs }) => jobs.length).length, "runner")} busy,{" "}
                <a href={url("/queue")}>{plural(waiting_jobs, "job")} waiting</a>
              </p>
              <ul class="runner-grid">
                {runners.map((runner) => (
                  <RunnerCard key={runner.uuid} runner={runner} reload={fleet.reload} />
                ))}
              </ul>
            </>
          ) : (
            <Empty icon="runners" title="No runners yet">
              <p>Runners execute the jobs of builds. Without one, builds wait.</p>
              {isAdministrator() ? add : <p>Ask an administrator to add one.</p>}
            </Empty>
          )
        }
      </Loaded>
      {isAdding && <AddRunnerDialog onClose={() => setAdding(false)} />}
    </Page>
  );
}

function RunnerCard({ runner, reload }: { runner: FleetRunner; reload: () => void }) {
  const {
    uuid,
    name,
    tags,
    run_untagged,
    platform,
    architecture,
    version,
    contacted_at,
    jobs,
    finished_24h,
    failed_24h,
    scope,
  } = runner;
  return (
    <li class="runner-card" data-row>
      <header>
        <Presence runner={runner} />
        <h2>{name}</h2>
        <span class="scope">{SCOPES[scope] ?? scope}</span>
      </header>
      <div class="runner-jobs">
        {jobs.map((job, index) => (
          <p key={job.job_id ?? `hidden-${index}`}>
            <JobLink job={job} />{" "}
            <span class="muted">
              for <Duration start={job.since} end={null} />
            </span>
          </p>
        ))}
        {jobs.length === 0 && <p class="muted">{runner.online && runner.active ? "Idle" : "No jobs"}</p>}
      </div>
      <p class="tags">
        {tags.map((tag) => (
          <span key={tag} class="tag">
            {tag}
          </span>
        ))}
        {run_untagged && <span class="tag plain">untagged jobs</span>}
        {runner.protected && <span class="tag plain">protected branches only</span>}
      </p>
      <dl class="facts-list">
        <div>
          <dt>Contact</dt>
          <dd>
            <RelativeTime time={contacted_at} />
          </dd>
        </div>
        <div>
          <dt>Last 24 h</dt>
          <dd>
            {plural(finished_24h, "job")}
            {failed_24h > 0 && `, ${failed_24h} failed`}
          </dd>
        </div>
        <div>
          <dt>System</dt>
          <dd>{[platform, architecture, version && `version ${version}`].filter(Boolean).join(", ") || "unknown"}</dd>
        </div>
      </dl>
      {isAdministrator() && <RunnerPresence uuid={uuid} />}
      {isAdministrator() && (
        <footer>
          <ActionButton
            action={async () => {
              await (runner.active ? pauseRunner(uuid) : setRunnerActive(uuid, true));
              reload();
              return runner.active ? `${name} gets no new jobs` : `${name} gets jobs again`;
            }}
          >
            {runner.active ? "Pause" : "Resume"}
          </ActionButton>
          <ConfirmButton
            label="Remove"
            title={`Remove ${name}?`}
            confirm="Remove"
            action={async () => {
              await deleteRunner(uuid);
              reload();
              return `${name} removed`;
            }}
          >
            <p>
              The runner's token becomes invalid, and its running jobs fail. To use the machine again, register it
              again.
            </p>
          </ConfirmButton>
        </footer>
      )}
    </li>
  );
}

function JobLink({ job: { job_id, build_id, project_name, name } }: { job: RunnerJob }) {
  // the job belongs to a project that the user may not see
  if (build_id === null) return <span>A job of another project</span>;
  return (
    <a href={url(`/builds/${build_id}`, { job: job_id })}>
      {project_name} · {name}
    </a>
  );
}

function Presence({ runner }: { runner: FleetRunner }) {
  const [tone, shape, word] = !runner.online
    ? (["neutral", "slash", "Offline"] as const)
    : !runner.active
      ? (["warning", "alert", "Paused"] as const)
      : runner.jobs.length
        ? (["running", "ring", "Working"] as const)
        : (["success", "check", "Online"] as const);
  return (
    <span class={`status tone-${tone}`}>
      <StatusShape shape={shape} />
      <span class="word">{word}</span>
    </span>
  );
}
