import type { Project } from "../../api/projects.ts";
import { CopyField } from "../../components/copy.tsx";

/** The badge of a project, with Markdown to copy into a page. */
export function BadgeLinks({ project }: { project: Project }) {
  const { origin } = window.location;
  const path = `/api/guest/badges/${[project.owner_alias, project.alias].map(encodeURIComponent).join("/")}.svg`;
  return (
    <>
      <p>
        <img src={path} alt="Badge with the result of the last build" height={20} />
      </p>
      <p>Markdown for a page, and the URL of the feed for CCTray clients:</p>
      <CopyField label="Markdown" text={`[![build](${origin}${path})](${origin}/ui/projects/${project.id})`} />
      <CopyField label="URL of the feed" text={`${origin}/api/guest/cc.xml`} />
    </>
  );
}
