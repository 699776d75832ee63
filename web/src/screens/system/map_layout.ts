/** The positions of the boxes of the system map and of the lines between them. */

import type { Stream } from "../../api/system.ts";
import type { KnownProcess } from "./memory.ts";

export interface Box {
  id: string;
  title: string;
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Line {
  from: string;
  to: string;
  path: string;
}

export interface MapLayout {
  width: number;
  height: number;
  boxes: Map<string, Box>;
  lines: Line[];
}

export const HEADER = 32;
export const ROW = 22;
const GAP = 16;
const PADDING = 8;
const WIDTH = 1120;
const COLUMNS = [
  { x: 0, width: 190 },
  { x: 260, width: 210 },
  { x: 540, width: 240 },
  { x: 850, width: 270 },
] as const;
export const GATEWAY = "gateway";

/** Return the id of a service's box. The prefix keeps it distinct from the ids of other boxes. */
export function serviceBox(service: string): string {
  return `service ${service}`;
}

/** Lay out the map in four columns: clients and runners; gateways and the queue; services; stores. */
export function layoutMap(processes: readonly KnownProcess[], streams: readonly Stream[], runners: number): MapLayout {
  const services = [...new Set(processes.map(({ service }) => service))].filter((name) => name !== GATEWAY).sort();
  const rowsOf = (service: string) => processes.filter((process) => process.service === service).length;
  const runnerRows = Math.max(1, Math.ceil(runners / 8));
  const columns: [id: string, title: string, rows: number][][] = [
    [
      ["clients", "Clients", 2],
      ["runners", "Runners", runnerRows + 1],
    ],
    [
      [serviceBox(GATEWAY), "Gateways", Math.max(1, rowsOf(GATEWAY))],
      ["queue", "Queue", 2],
    ],
    services.map((service) => [serviceBox(service), service, rowsOf(service)]),
    [
      ["mongodb", "MongoDB", 1],
      ["jetstream", "NATS JetStream", Math.max(1, streams.length)],
    ],
  ];
  const heights = columns.map((column) => column.reduce((sum, [, , rows]) => sum + boxHeight(rows) + GAP, -GAP));
  const height = Math.max(...heights);
  const boxes = new Map<string, Box>();
  columns.forEach((column, i) => {
    const { x, width } = COLUMNS[i] as (typeof COLUMNS)[number];
    const free = column.length > 1 ? (height - (heights[i] as number)) / column.length : 0;
    let y = column.length > 1 ? free / 2 : (height - (heights[i] as number)) / 2;
    for (const [id, title, rows] of column) {
      boxes.set(id, { id, title, x, y, width, height: boxHeight(rows) });
      y += boxHeight(rows) + GAP + free;
    }
  });
  const lines: Line[] = [
    connect(boxes, "clients", serviceBox(GATEWAY)),
    connect(boxes, "runners", serviceBox(GATEWAY)),
    connect(boxes, "runners", "queue"),
    ...services.flatMap((service) => [
      connect(boxes, serviceBox(GATEWAY), serviceBox(service)),
      connect(boxes, serviceBox(service), "mongodb"),
      connect(boxes, serviceBox(service), "jetstream"),
    ]),
    ...(services.includes("builds") ? [connect(boxes, "queue", serviceBox("builds"))] : []),
  ];
  return { width: WIDTH, height, boxes, lines };
}

function boxHeight(rows: number): number {
  return HEADER + rows * ROW + PADDING;
}

/** Return the path of a curve from the right edge of a box to the left edge of another. */
function connect(boxes: Map<string, Box>, from: string, to: string): Line {
  const start = boxes.get(from) as Box;
  const end = boxes.get(to) as Box;
  const [x1, y1] = [start.x + start.width, start.y + start.height / 2];
  const [x2, y2] = [end.x, end.y + end.height / 2];
  const middle = (x1 + x2) / 2;
  return { from, to, path: `M${x1} ${y1} C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}` };
}
