/** State of the running system. */
import { api, dataOf, type Schemas } from "./client.ts";

export type Process = Schemas["SystemProcess"];
export type Stream = Schemas["SystemStream"];

export interface System extends Omit<Schemas["SystemView"], "queue"> {
  queue: { builds: number; jobs: number; oldest_seconds: number | null };
}

/** The queue counts as empty while the builds service has no leader that reports its length. */
export async function loadSystem(): Promise<System> {
  const { queue, ...system } = await dataOf(api.GET("/api/admin/system"));
  return { ...system, queue: { ...queue, builds: queue.builds ?? 0, jobs: queue.jobs ?? 0 } };
}
