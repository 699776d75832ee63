/** Filters for the live events after which a screen reloads its data. */
import type { LiveEvent } from "../../live/events.ts";

export function isAboutBuilds({ stream }: LiveEvent): boolean {
  return stream.startsWith("build-") || stream.startsWith("job-");
}

export function isAboutBuild(buildId: number): (event: LiveEvent) => boolean {
  return ({ stream, data }) => stream === `build-${buildId}` || data.build_id === buildId;
}

export function isAboutProject(projectId: number): (event: LiveEvent) => boolean {
  return ({ stream, data }) =>
    stream.startsWith("build-") && (data.project_id === projectId || data.project_id === undefined);
}

export function isAboutRunners({ stream }: LiveEvent): boolean {
  return stream.startsWith("runner-") || stream.startsWith("job-");
}
