import type { Project } from "../../api/projects.ts";
import { CopyField } from "../../components/copy.tsx";

/** The badges of a project, with Markdown to copy into a page. */
export function BadgeLinks({ project }: { project: Project }) {
  const { origin } = window.location;
  const base = `/api/guest/badges/${[project.owner_alias, project.alias].map(encodeURIComponent).join("/")}`;
  const path = `${base}.svg`;
  const coverage = `${base}/coverage.svg`;
  const markdown = (name: string, image: string) =>
    `[![${name}](${origin}${image})](${origin}/ui/projects/${project.id})`;
  return (
    <>
      <p>
        <img src={path} alt="Badge with the result of the last build" height={20} />{" "}
        <img src={coverage} alt="Badge with the coverage of the last successful build" height={20} />
      </p>
      <p>Markdown for a page, and the URL of the feed for CCTray clients:</p>
      <CopyField label="Markdown" text={markdown("build", path)} />
      <CopyField label="Markdown of the coverage" text={markdown("coverage", coverage)} />
      <CopyField label="URL of the feed" text={`${origin}/api/guest/cc.xml`} />
    </>
  );
}
