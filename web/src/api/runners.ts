/** Runners and their registration. */
import { api, dataOf, type Schemas } from "./client.ts";

export type Fleet = Schemas["FleetView"];
export type FleetRunner = Schemas["FleetRunner"];
export type RunnerJob = Schemas["RunnerJob"];

export async function getFleet(): Promise<Fleet> {
  return await dataOf(api.GET("/api/developer/fleet"));
}

/** The URL and the token with which runners for all projects register. */
export async function getRegistration() {
  return await dataOf(api.GET("/api/admin/runners/registration-info"));
}

export async function pauseRunner(runner_uuid: string): Promise<void> {
  await api.POST("/api/admin/runners/{runner_uuid}/shutdown", { params: { path: { runner_uuid } } });
}

export async function setRunnerActive(runner_uuid: string, isActive: boolean): Promise<void> {
  await api.POST("/api/admin/runners/{runner_uuid}/edit", { params: { path: { runner_uuid } }, body: { isActive } });
}

export async function deleteRunner(runner_uuid: string): Promise<void> {
  await api.DELETE("/api/admin/runners/{runner_uuid}", { params: { path: { runner_uuid } } });
}
