import type { OverviewArtifact } from "../../api/builds.ts";
import { Icon } from "../../components/icons.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { formatBytes } from "../../format/text.ts";

/** The artifacts of a job, with links to download them. */
export function Artifacts({
  jobId,
  artifacts,
  label = "Artifacts",
}: {
  jobId: number;
  artifacts: OverviewArtifact[];
  label?: string;
}) {
  return (
    <ul class="artifacts" aria-label={label}>
      {artifacts.map(({ id, file_name, size, expire_at }) => (
        <li key={id}>
          <a href={`/api/developer/jobs/${jobId}/artifacts/${id}`} download={file_name}>
            <Icon name="download" /> {file_name}
          </a>
          <span class="muted">
            {formatBytes(size)}
            {expire_at && (
              <>
                , {Date.parse(expire_at) > Date.now() ? "expires" : "expired"} <RelativeTime time={expire_at} />
              </>
            )}
          </span>
        </li>
      ))}
    </ul>
  );
}
