/** Ctrl+K: go to a project, a build by its number, or a screen. */
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { listProjects } from "../api/projects.ts";
import { useResource } from "../api/resource.ts";
import { isAdministrator } from "../api/session.ts";
import { Dialog } from "../components/dialog.tsx";
import { Icon, type IconName } from "../components/icons.tsx";
import { navigate, url } from "../router/location.ts";
import { DESTINATIONS } from "./navigation.ts";

export const isGoToOpen = signal(false);
const MAX_TARGETS = 9;

interface Target {
  name: string;
  kind: string;
  icon: IconName;
  href: string;
}

export function GoTo() {
  const [text, setText] = useState("");
  const [selected, setSelected] = useState(0);
  const projects = useResource("projects", listProjects);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []); // because the dialog has focused its first button
  const targets = findTargets(text, projects.data ?? []);
  const chosen = Math.min(selected, targets.length - 1);
  const close = () => (isGoToOpen.value = false);
  const open = (target: Target | undefined) => {
    if (!target) return;
    close();
    navigate(target.href);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter") open(targets[chosen]);
    else if (step) setSelected((chosen + step + targets.length) % Math.max(targets.length, 1));
    else return;
    event.preventDefault();
  };
  return (
    <Dialog title="Go to" onClose={close}>
      <div class="go-to">
        <input
          ref={field}
          role="combobox"
          aria-expanded={targets.length > 0}
          aria-controls="go-to-targets"
          aria-activedescendant={targets[chosen] ? `go-to-${chosen}` : undefined}
          aria-label="Project, build number or screen"
          placeholder="Project, build number or screen"
          autocomplete="off"
          value={text}
          onInput={({ currentTarget }) => {
            setText(currentTarget.value);
            setSelected(0);
          }}
          onKeyDown={onKeyDown}
        />
        <ul id="go-to-targets" role="listbox" aria-label="Matches">
          {targets.map((target, index) => (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the text field above handles the keys
            <li
              key={target.href}
              id={`go-to-${index}`}
              role="option"
              tabIndex={-1}
              aria-selected={index === chosen}
              onClick={() => open(target)}
            >
              <Icon name={target.icon} />
              <span>{target.name}</span>
              <span class="muted">{target.kind}</span>
            </li>
          ))}
        </ul>
        {targets.length === 0 && <p class="muted">Nothing matches. Type a project's name or a build's number.</p>}
      </div>
    </Dialog>
  );
}

function findTargets(text: string, projects: { id: number; name: string }[]): Target[] {
  const wanted = text.trim().toLowerCase();
  const targets: Target[] = [];
  const number = /^(?:build )?#?(\d+)$/.exec(wanted)?.[1];
  if (number) targets.push({ name: `Build ${number}`, kind: "Build", icon: "play", href: url(`/builds/${number}`) });
  for (const { id, name } of projects)
    if (name.toLowerCase().includes(wanted))
      targets.push({ name, kind: "Project", icon: "projects", href: url(`/projects/${id}`) });
  for (const { name, path, icon, forAdministrators } of DESTINATIONS)
    if (name.toLowerCase().includes(wanted) && (!forAdministrators || isAdministrator()))
      targets.push({ name, kind: "Screen", icon, href: url(path) });
  return targets.slice(0, MAX_TARGETS);
}
