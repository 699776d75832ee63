import { useEffect, useState } from "preact/hooks";
import { useResource } from "../../api/resource.ts";
import { getFleet } from "../../api/runners.ts";
import { loadSystem, type System } from "../../api/system.ts";
import { Page } from "../../components/page.tsx";
import { Empty, ErrorState, Loading } from "../../components/states.tsx";
import { plural } from "../../format/text.ts";
import { isAboutRunners } from "../shared/live_filters.ts";
import { eventRates, type Memory, NOTHING, remember } from "./memory.ts";
import { Sparkline } from "./sparkline.tsx";
import { SystemMap } from "./system_map.tsx";
import { SystemTables } from "./system_tables.tsx";

const POLL_MS = 2000;
let memory: Memory = NOTHING; // outlives the screen, so that the sparklines continue when it is opened again

/** The live state of the system: processes, stores, queue and runners. */
export default function SystemScreen() {
  const resource = useResource("system", readSystem);
  const fleet = useResource("fleet", getFleet, { refreshOn: isAboutRunners });
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === "visible" && resource.reload(), POLL_MS);
    return () => clearInterval(timer);
  }, []);
  const [shown, setShown] = useState<{ system: System; memory: Memory } | null>(null);
  useEffect(() => {
    if (resource.data) setShown(resource.data);
  }, [resource.data]);
  const error = resource.error;
  if (!shown)
    return (
      <Page title="System" wide>
        {error?.status === 404 ? (
          <Empty icon="system" title="The map of the system is not available here">
            <p>The server is too old to report its processes. Upgrade it to see them here.</p>
          </Empty>
        ) : error ? (
          <ErrorState error={error} retry={resource.reload} />
        ) : (
          <Loading rows={6} />
        )}
      </Page>
    );
  const { system } = shown;
  const { processes, samples } = shown.memory;
  const down = processes.filter(({ ready, missingSince }) => !ready || missingSince !== null);
  return (
    <Page title="System" wide>
      {error && (
        <p class="notice tone-failure" role="status">
          The gateway does not respond, so the map shows its last known state. {error.message}
        </p>
      )}
      <p class={`notice tone-${down.length ? "warning" : "success"}`} role="status">
        {down.length
          ? `${plural(down.length, "process is", "processes are")} not ready: ${down.map(({ instance }) => instance).join(", ")}.`
          : `All ${plural(processes.length, "process is", "processes are")} ready.`}
      </p>
      <SystemMap system={system} processes={processes} runners={fleet.data?.runners ?? []} />
      <ul class="tiles">
        <Sparkline name="jobs wait" values={samples.map(({ jobs }) => jobs)} format={String} />
        <Sparkline name="events per second" values={eventRates(samples)} format={(value) => value.toFixed(1)} />
        <Sparkline name="events behind" values={samples.map(({ behind }) => behind)} format={String} />
        <Sparkline
          name="ms, longest event loop delay"
          values={samples.map(({ loopLagMs }) => loopLagMs)}
          format={(value) => String(Math.round(value))}
        />
      </ul>
      <SystemTables processes={processes} streams={system.streams} />
    </Page>
  );
}

async function readSystem(): Promise<{ system: System; memory: Memory }> {
  const system = await loadSystem();
  memory = remember(memory, system, Date.now());
  return { system, memory };
}
