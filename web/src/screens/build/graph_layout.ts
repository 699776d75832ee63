/** The layout of the job graph: columns by dependency, the transitive reduction of its edges, and the critical path. */
import type { OverviewJob } from "../../api/builds.ts";

type GraphJob = Pick<OverviewJob, "name" | "stage" | "stage_index" | "needs" | "completed_at" | "started_at">;

export interface Node<J> {
  job: J;
  column: number;
  row: number;
}

export interface Edge {
  from: string;
  to: string;
  isCritical: boolean;
}

export interface Layout<J> {
  nodes: Node<J>[];
  edges: Edge[];
  columns: number;
  rows: number;
  critical: Set<string>;
}

/** The jobs that each job waits for. Without `needs` these are all jobs of earlier stages. */
export function findDependencies(jobs: GraphJob[]): Map<string, string[]> {
  const names = new Set(jobs.map(({ name }) => name));
  const dependencies = jobs.map(({ name, needs, stage_index }): [string, string[]] => {
    if (needs) return [name, needs.filter((need) => names.has(need) && need !== name)];
    return [name, jobs.filter((other) => other.stage_index < stage_index).map((other) => other.name)];
  });
  return new Map(dependencies);
}

/** Remove each dependency that follows from others (transitive reduction). */
export function reduceTransitively(dependencies: Map<string, string[]>): Map<string, string[]> {
  const ancestors = new Map<string, Set<string>>();
  const collect = (name: string, path: Set<string>): Set<string> => {
    const known = ancestors.get(name);
    if (known) return known;
    const all = new Set<string>();
    if (path.has(name)) return all; // a cycle cannot come from the API
    path.add(name);
    for (const direct of dependencies.get(name) ?? []) {
      all.add(direct);
      for (const far of collect(direct, path)) all.add(far);
    }
    path.delete(name);
    ancestors.set(name, all);
    return all;
  };
  const reduced = new Map<string, string[]>();
  for (const [name, direct] of dependencies)
    reduced.set(
      name,
      direct.filter((one) => !direct.some((other) => other !== one && collect(other, new Set()).has(one))),
    );
  return reduced;
}

/** The job names on the critical path: from the job that ended last, back along the dependency that ended last. */
export function findCriticalPath(jobs: GraphJob[], dependencies: Map<string, string[]>): string[] {
  const byName = new Map(jobs.map((job) => [job.name, job]));
  const latest = (candidates: GraphJob[]) =>
    candidates
      .filter(({ started_at, completed_at }) => started_at && completed_at)
      .sort((one, other) => Date.parse(one.completed_at ?? "") - Date.parse(other.completed_at ?? ""))
      .at(-1);
  const path: string[] = [];
  let job = latest(jobs);
  while (job && !path.includes(job.name)) {
    path.unshift(job.name);
    job = latest((dependencies.get(job.name) ?? []).flatMap((name) => byName.get(name) ?? []));
  }
  return path;
}

export function layoutGraph<J extends GraphJob>(jobs: J[]): Layout<J> {
  const dependencies = findDependencies(jobs);
  const reduced = reduceTransitively(dependencies);
  const path = findCriticalPath(jobs, dependencies);
  const columnOf = new Map<string, number>();
  const column = (name: string, depth = 0): number => {
    const known = columnOf.get(name);
    if (known !== undefined || depth > jobs.length) return known ?? 0;
    const value = Math.max(-1, ...(reduced.get(name) ?? []).map((need) => column(need, depth + 1))) + 1;
    columnOf.set(name, value);
    return value;
  };
  const rowCounts: number[] = [];
  const rowOf = new Map<string, number>();
  const ordered = [...jobs].sort((one, other) => column(one.name) - column(other.name));
  const nodes = ordered.map((job) => {
    const at = column(job.name);
    const needed = (reduced.get(job.name) ?? []).map((need) => rowOf.get(need) ?? 0);
    const preferred = needed.length ? Math.round(needed.reduce((sum, row) => sum + row, 0) / needed.length) : 0;
    const row = needed.length === 1 ? Math.max(rowCounts[at] ?? 0, preferred) : (rowCounts[at] ?? 0);
    rowCounts[at] = row + 1;
    rowOf.set(job.name, row);
    return { job, column: at, row };
  });
  const critical = new Set(path);
  const edges = [...reduced].flatMap(([to, needs]) =>
    needs.map((from) => ({ from, to, isCritical: path.indexOf(to) > 0 && path[path.indexOf(to) - 1] === from })),
  );
  return {
    nodes,
    edges,
    columns: Math.max(0, ...nodes.map((node) => node.column + 1)),
    rows: Math.max(0, ...rowCounts.map((count) => count ?? 0)),
    critical,
  };
}
