import { cancelBuild, listQueue, listRunning, setPriority } from "../../api/builds.ts";
import { useResource } from "../../api/resource.ts";
import { isAdministrator } from "../../api/session.ts";
import { Button, runAction } from "../../components/button.tsx";
import { ConfirmButton } from "../../components/dialog.tsx";
import { Page, Section } from "../../components/page.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { Duration } from "../../components/times.tsx";
import { url } from "../../router/location.ts";
import { isAboutBuilds } from "../shared/live_filters.ts";
import { WaitingJobs } from "./waiting_jobs.tsx";

type Waiting = Awaited<ReturnType<typeof listQueue>>[number];
type Running = Awaited<ReturnType<typeof listRunning>>[number];

const PRIORITY_STEP = 10;
const MAX_PRIORITY = 100;

/** Waiting builds in the order of the queue, with the reason why each waits, and running builds. */
export default function QueueScreen() {
  const waiting = useResource("queue", listQueue, { refreshOn: isAboutBuilds });
  const running = useResource("running", listRunning, { refreshOn: isAboutBuilds });
  return (
    <Page title="Queue">
      <Section title="Waiting">
        <Loaded resource={waiting}>
          {(builds) =>
            builds.length ? (
              <Table
                caption="Waiting builds"
                columns={waitingColumns(waiting.reload)}
                rows={builds}
                rowKey={({ executor_id }) => executor_id}
              />
            ) : (
              <Empty icon="queue" title="No waiting builds">
                <p>A build that cannot start yet appears here with the reason.</p>
              </Empty>
            )
          }
        </Loaded>
      </Section>
      {running.data && <WaitingJobs builds={running.data.map(({ build_id }) => build_id)} />}
      <Section title="Running">
        <Loaded resource={running}>
          {(builds) =>
            builds.length ? (
              <Table
                caption="Running builds"
                columns={runningColumns()}
                rows={builds}
                rowKey={({ executor_id }) => executor_id}
              />
            ) : (
              <p class="muted">No running builds.</p>
            )
          }
        </Loaded>
      </Section>
    </Page>
  );
}

function waitingColumns(reload: () => void): Column<Waiting>[] {
  return [
    {
      name: "Build",
      kind: "narrow",
      cell: ({ project_name, build_id }) => <a href={url(`/builds/${build_id}`)}>{`${project_name} #${build_id}`}</a>,
    },
    { name: "Why it waits", kind: "wide", cell: ({ reason }) => reason || <span class="muted">starts next</span> },
    { name: "Waited", kind: "number", cell: ({ queued_at }) => <Duration start={queued_at} end={null} /> },
    { name: "Priority", kind: "number", cell: (build) => <Priority build={build} reload={reload} /> },
    { name: "Actions", kind: "actions", cell: (build) => <Cancel build={{ ...build, status: "QUEUED" }} /> },
  ];
}

function runningColumns(): Column<Running>[] {
  return [
    {
      name: "Build",
      kind: "wide",
      cell: ({ project_name, build_id }) => <a href={url(`/builds/${build_id}`)}>{`${project_name} #${build_id}`}</a>,
    },
    { name: "Runner", kind: "narrow", cell: ({ runner }) => runner ?? <span class="muted">several</span> },
    { name: "Runs for", kind: "number", cell: ({ at }) => <Duration start={at} end={null} /> },
    { name: "Actions", kind: "actions", cell: (build) => <Cancel build={{ ...build, status: "RUNNING" }} /> },
  ];
}

function Priority({ build, reload }: { build: Waiting; reload: () => void }) {
  if (!isAdministrator()) return <span class="number">{build.priority}</span>;
  const change = (step: number) =>
    runAction(async () => {
      await setPriority(build.build_id, Math.max(-MAX_PRIORITY, Math.min(MAX_PRIORITY, build.priority + step)));
      reload();
      return undefined;
    });
  return (
    <span class="stepper">
      <Button
        kind="quiet"
        icon="down"
        label={`Lower the priority of build ${build.build_id}`}
        onClick={() => void change(-PRIORITY_STEP)}
      />
      <span class="number">{build.priority}</span>
      <Button
        kind="quiet"
        icon="up"
        label={`Raise the priority of build ${build.build_id}`}
        onClick={() => void change(PRIORITY_STEP)}
      />
    </span>
  );
}

function Cancel({ build }: { build: { build_id: number; executor_id: string; status: string; project_name: string } }) {
  return (
    <ConfirmButton
      label="Cancel"
      title={`Cancel build ${build.build_id}?`}
      confirm="Cancel build"
      action={() => cancelBuild(build).then(() => `Build ${build.build_id} canceled`)}
    >
      <p>
        Build {build.build_id} of {build.project_name} is stopped. Its cleanup steps still run.
      </p>
    </ConfirmButton>
  );
}
