/** The artifacts of all jobs of a build. */
import type { OverviewJob } from "../../api/builds.ts";
import { formatBytes, plural } from "../../format/text.ts";
import { Artifacts } from "./artifacts.tsx";

export function BuildArtifacts({ jobs }: { jobs: OverviewJob[] }) {
  const withFiles = jobs.filter(({ artifacts }) => artifacts.length > 0);
  const files = withFiles.flatMap(({ artifacts }) => artifacts);
  if (files.length === 0) return null;
  const size = files.reduce((sum, file) => sum + file.size, 0);
  return (
    <details class="build-artifacts">
      <summary>
        {plural(files.length, "artifact")} of this build, {formatBytes(size)}
      </summary>
      {withFiles.map(({ id, name, artifacts }) => (
        <div key={id}>
          <h3>{name}</h3>
          <Artifacts jobId={id} artifacts={artifacts} label={`Artifacts of ${name}`} />
        </div>
      ))}
    </details>
  );
}
