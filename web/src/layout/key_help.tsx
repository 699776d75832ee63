import { signal } from "@preact/signals";
import { Dialog } from "../components/dialog.tsx";
import { listScreenKeys } from "./keys.ts";
import { DESTINATIONS } from "./navigation.ts";

export const isHelpOpen = signal(false);

/** The dialog that lists the keyboard shortcuts of the current screen and of all screens. */
export function KeyHelp() {
  const general: [string, string][] = [
    ["Ctrl K", "Go to a project, a build or a screen"],
    ["j  k", "Next or previous row"],
    ["Enter", "Open the row"],
    ...DESTINATIONS.filter(({ key }) => key).map(({ name, key }): [string, string] => [`g ${key}`, name]),
    ["?", "This list"],
  ];
  const ofScreen = listScreenKeys().map(({ key, does }): [string, string] => [key, does]);
  return (
    <Dialog title="Keys" onClose={() => (isHelpOpen.value = false)}>
      <div class="dialog-body key-help">
        {ofScreen.length > 0 && <KeyList title="On this screen" keys={ofScreen} />}
        <KeyList title="Everywhere" keys={general} />
      </div>
    </Dialog>
  );
}

function KeyList({ title, keys }: { title: string; keys: [string, string][] }) {
  return (
    <section>
      <h3>{title}</h3>
      <dl>
        {keys.map(([key, does]) => (
          <div key={key}>
            <dt>
              {key.split(/\s+/).map((part) => (
                <kbd key={part}>{part}</kbd>
              ))}
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
