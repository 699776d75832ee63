import type { Stream } from "../../api/system.ts";
import { StatusShape } from "../../components/icons.tsx";
import { Section } from "../../components/page.tsx";
import { Table } from "../../components/table.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { formatBytes } from "../../format/text.ts";
import type { KnownProcess } from "./memory.ts";

/** The numbers of the map as tables, which screen readers can read and users can copy. */
export function SystemTables({ processes, streams }: { processes: KnownProcess[]; streams: Stream[] }) {
  return (
    <>
      <Section title="Processes">
        <Table
          caption="Processes"
          rows={processes}
          rowKey={({ service, instance }) => `${service}/${instance}`}
          columns={[
            {
              name: "Process",
              kind: "wide",
              cell: ({ service, instance, leading }) => (
                <>
                  <strong>{service}</strong> <span class="muted">{instance}</span>{" "}
                  {leading && <span class="tag">leads</span>}
                </>
              ),
            },
            { name: "State", cell: (process) => <ProcessState process={process} /> },
            { name: "Version", cell: ({ version }) => version },
            { name: "Started", kind: "narrow", cell: ({ started_at }) => <RelativeTime time={started_at} /> },
            { name: "Memory", kind: "number", cell: ({ rss_bytes }) => formatBytes(rss_bytes) },
            { name: "Event loop delay", kind: "number", cell: ({ loop_lag_ms }) => `${Math.round(loop_lag_ms)} ms` },
            {
              name: "Behind",
              kind: "number",
              cell: ({ lags }) => {
                const behind = Object.entries(lags).filter(([, lag]) => lag > 0);
                return behind.length ? behind.map(([name, lag]) => `${name} ${lag}`).join(", ") : "0";
              },
            },
          ]}
        />
      </Section>
      <Section title="Streams">
        <Table
          caption="Streams"
          rows={streams}
          rowKey={({ name }) => name}
          columns={[
            { name: "Stream", kind: "wide", cell: ({ name }) => <code>{name}</code> },
            { name: "Messages", kind: "number", cell: ({ messages }) => messages.toLocaleString("en") },
            { name: "Size", kind: "number", cell: ({ bytes }) => formatBytes(bytes) },
            { name: "Consumers", kind: "number", cell: ({ consumers }) => consumers.length },
            {
              name: "Pending",
              kind: "number",
              cell: ({ consumers }) => consumers.reduce((sum, { pending }) => sum + pending, 0),
            },
          ]}
        />
      </Section>
    </>
  );
}

function ProcessState({ process }: { process: KnownProcess }) {
  const { ready, reasons, missingSince } = process;
  if (missingSince !== null)
    return (
      <span class="status tone-failure">
        <StatusShape shape="cross" />
        <span class="word">
          No answer since <RelativeTime time={new Date(missingSince).toISOString()} />
        </span>
      </span>
    );
  return (
    <span class={`status tone-${ready ? "success" : "warning"}`} title={reasons.join("; ")}>
      <StatusShape shape={ready ? "check" : "alert"} />
      <span class="word">{ready ? "Ready" : `Not ready: ${reasons.join("; ") || "no reason given"}`}</span>
    </span>
  );
}
