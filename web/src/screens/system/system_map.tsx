import { useEffect, useMemo, useRef } from "preact/hooks";
import type { FleetRunner } from "../../api/runners.ts";
import type { Stream, System } from "../../api/system.ts";
import { plural } from "../../format/text.ts";
import { formatDuration } from "../../format/time.ts";
import { subscribe } from "../../live/events.ts";
import { type Box, GATEWAY, HEADER, layoutMap, ROW, serviceBox } from "./map_layout.ts";
import { type KnownProcess, maxLag } from "./memory.ts";
import { showTravel } from "./traveling_jobs.ts";

const MAX_ROW = 34; // characters in a row of a box

interface Props {
  system: System;
  processes: KnownProcess[];
  runners: FleetRunner[];
}

/** A map of the system: its processes and stores with their states, and the connections between them. */
export function SystemMap({ system, processes, runners }: Props) {
  const svg = useRef<SVGSVGElement>(null);
  const shape = JSON.stringify([processes.map(({ service }) => service), system.streams.length, runners.length]);
  const layout = useMemo(() => layoutMap(processes, system.streams, runners.length), [shape]);
  useEffect(() => subscribe((event) => event && svg.current && showTravel(svg.current, layout, event)), [layout]);
  const box = (id: string) => layout.boxes.get(id) as Box;
  const services = [...new Set(processes.map(({ service }) => service))];
  const { queue, gateway } = system;
  return (
    <section class="system-map" tabIndex={0} aria-label="Map">
      <svg
        ref={svg}
        viewBox={`-2 -2 ${layout.width + 4} ${layout.height + 4}`}
        role="img"
        aria-label="Map of the system. The tables below have the same numbers."
      >
        {layout.lines.map(({ from, to, path }) => (
          <path key={`${from}-${to}`} class="map-line" d={path} />
        ))}
        <MapBox box={box("clients")}>
          <Row box={box("clients")} index={0} text={plural(gateway.event_readers, "event reader")} />
          <Row box={box("clients")} index={1} text="browsers, forges, scripts" muted />
        </MapBox>
        <MapBox box={box("runners")}>
          <Row box={box("runners")} index={0} text={plural(gateway.long_polls, "waiting runner")} muted />
          {runners.map((runner, i) => (
            <RunnerDot key={runner.uuid} runner={runner} index={i} box={box("runners")} />
          ))}
        </MapBox>
        <MapBox box={box("queue")} tone={queue.jobs ? "waiting" : ""}>
          <Row box={box("queue")} index={0} text={`${plural(queue.jobs, "job")}, ${plural(queue.builds, "build")}`} />
          <Row
            box={box("queue")}
            index={1}
            text={queue.oldest_seconds ? `oldest ${formatDuration(queue.oldest_seconds)}` : "empty"}
            muted
          />
        </MapBox>
        {services.map((service) => (
          <ServiceBox
            key={service}
            box={box(serviceBox(service))}
            processes={processes.filter((process) => process.service === service)}
          />
        ))}
        <MapBox box={box("mongodb")} tone={storeTone(processes, "MongoDB")}>
          <Row box={box("mongodb")} index={0} text={storeState(processes, "MongoDB")} muted />
        </MapBox>
        <MapBox box={box("jetstream")} tone={storeTone(processes, "NATS")}>
          {system.streams.map((stream, i) => (
            <Row key={stream.name} box={box("jetstream")} index={i} text={stream.name} end={streamState(stream)} />
          ))}
        </MapBox>
      </svg>
    </section>
  );
}

function MapBox({ box, tone = "", children }: { box: Box; tone?: string; children: preact.ComponentChildren }) {
  return (
    <g class={`map-box ${tone && `tone-${tone}`}`}>
      <rect x={box.x} y={box.y} width={box.width} height={box.height} rx="8" />
      <text class="map-title" x={box.x + 12} y={box.y + 21}>
        {box.title}
      </text>
      {children}
    </g>
  );
}

interface RowProps {
  box: Box;
  index: number;
  text: string;
  end?: string;
  muted?: boolean;
  tone?: string;
}

function Row({ box, index, text, end, muted = false, tone = "" }: RowProps) {
  const y = box.y + HEADER + index * ROW + 14;
  const name = `map-row${muted ? " muted" : ""}${tone && ` tone-${tone}`}`;
  return (
    <>
      <text class={name} x={box.x + 12} y={y}>
        {text}
      </text>
      {end && (
        <text class={name} x={box.x + box.width - 12} y={y} text-anchor="end">
          {end}
        </text>
      )}
    </>
  );
}

function ServiceBox({ box, processes }: { box: Box; processes: KnownProcess[] }) {
  const isDown = processes.every(({ ready, missingSince }) => !ready || missingSince !== null);
  const isHurt = processes.some(({ ready, missingSince }) => !ready || missingSince !== null);
  return (
    <MapBox box={box} tone={isDown ? "failure" : isHurt ? "warning" : ""}>
      {processes.map((process, i) => (
        <ProcessRow key={process.instance} process={process} box={box} index={i} />
      ))}
    </MapBox>
  );
}

function ProcessRow({ process, box, index }: { process: KnownProcess; box: Box; index: number }) {
  const { service, instance, ready, reasons, leading, missingSince, loop_lag_ms } = process;
  const name = instance === service ? "1" : instance.replace(`${service}-`, "#");
  if (missingSince !== null) return <Row box={box} index={index} text={`✕ ${name} does not answer`} tone="failure" />;
  if (!ready)
    return <Row box={box} index={index} text={shorten(`! ${name}: ${reasons[0] ?? "not ready"}`)} tone="warning" />;
  const lag = maxLag(process);
  const end =
    lag > 0 ? `${lag} behind` : service === GATEWAY || loop_lag_ms > 50 ? `${Math.round(loop_lag_ms)} ms` : "";
  return <Row box={box} index={index} text={`${leading ? "♛" : "●"} ${name}${leading ? " leads" : ""}`} end={end} />;
}

function RunnerDot({ runner, index, box }: { runner: FleetRunner; index: number; box: Box }) {
  const tone = !runner.online ? "neutral" : runner.jobs.length ? "running" : "success";
  const state = !runner.online ? "offline" : runner.jobs.length ? `runs ${runner.jobs[0]?.name}` : "idle";
  return (
    <circle
      class={`runner-dot tone-${tone}${runner.online ? "" : " hollow"}`}
      cx={box.x + 20 + (index % 8) * 20}
      cy={box.y + HEADER + ROW + Math.floor(index / 8) * ROW + 10}
      r="6"
    >
      <title>{`${runner.name}: ${state}`}</title>
    </circle>
  );
}

function shorten(text: string): string {
  return text.length > MAX_ROW ? `${text.slice(0, MAX_ROW - 1)}…` : text;
}

/** The color of a store: the color of failures if a process is not ready because of the store. */
function storeTone(processes: KnownProcess[], store: string): string {
  const isNamed = processes.some(({ reasons }) => reasons.some((reason) => reason.includes(store)));
  return isNamed ? "failure" : "";
}

function storeState(processes: KnownProcess[], store: string): string {
  return storeTone(processes, store) ? "not reachable" : "events and read models";
}

function streamState({ messages, consumers }: Stream): string {
  const pending = consumers.reduce((sum, consumer) => sum + consumer.pending, 0);
  return `${messages.toLocaleString("en")}${pending ? `, ${pending} pending` : ""}`;
}
