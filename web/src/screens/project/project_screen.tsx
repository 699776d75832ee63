import { useState } from "preact/hooks";
import { getProject, type Project } from "../../api/projects.ts";
import { useResource } from "../../api/resource.ts";
import { Button } from "../../components/button.tsx";
import { Page } from "../../components/page.tsx";
import { Loaded } from "../../components/states.tsx";
import { type Tab, Tabs } from "../../components/tabs.tsx";
import { useScreenKeys } from "../../layout/keys.ts";
import { url } from "../../router/location.ts";
import type { Parameters } from "../../router/routes.tsx";
import { LaunchDialog } from "../launch/launch_dialog.tsx";
import { ProjectSchedules } from "../schedules/project_schedules.tsx";
import { ProjectBuilds } from "./project_builds.tsx";
import { ProjectSettings } from "./project_settings.tsx";

const TABS: [name: string, path: string][] = [
  ["Builds", ""],
  ["Schedules", "/schedules"],
  ["Settings", "/settings"],
];

/** A project: its builds, its schedules and its settings. */
export default function ProjectScreen({ parameters }: { parameters: Parameters }) {
  const id = Number(parameters.id);
  const resource = useResource(`project-${id}`, () => getProject(id));
  return (
    <Loaded resource={resource}>
      {(project) => <ProjectPage project={project} tab={parameters.tab ?? ""} reload={resource.reload} />}
    </Loaded>
  );
}

function ProjectPage({ project, tab, reload }: { project: Project; tab: string; reload: () => void }) {
  const [isLaunching, setLaunching] = useState(false);
  useScreenKeys([{ key: "T", does: "Launch a build", run: () => setLaunching(true) }]);
  const tabs: Tab[] = TABS.map(([name, path]) => ({ name, href: url(`/projects/${project.id}${path}`) }));
  const selected = TABS.find(([, path]) => path === (tab && `/${tab}`))?.[0] ?? "Builds";
  return (
    <Page
      title={project.name}
      subtitle={project.description}
      parents={[{ name: "Projects", href: url("/projects") }]}
      actions={
        <Button kind="primary" icon="play" title="Launch (T)" onClick={() => setLaunching(true)}>
          Launch
        </Button>
      }
    >
      <Tabs label="Project" tabs={tabs} selected={selected} />
      {selected === "Builds" && <ProjectBuilds project={project} launch={() => setLaunching(true)} />}
      {selected === "Schedules" && <ProjectSchedules project={project} />}
      {selected === "Settings" && <ProjectSettings project={project} reload={reload} />}
      {isLaunching && <LaunchDialog project={project} onClose={() => setLaunching(false)} />}
    </Page>
  );
}
