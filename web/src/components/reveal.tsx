/** A secret value, which is fetched when a button is pressed and hidden again after 30 seconds. */
import { useEffect, useState } from "preact/hooks";
import { Button, runAction } from "./button.tsx";
import { CopyField } from "./copy.tsx";

const REVEALED_MS = 30_000;

export function Reveal({ label, load }: { label: string; load: () => Promise<string> }) {
  const [value, setValue] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    if (value === null) return;
    const timer = setTimeout(() => setValue(null), REVEALED_MS);
    return () => clearTimeout(timer);
  }, [value]);
  const show = async () => {
    setBusy(true);
    await runAction(async () => {
      setValue(await load());
      return undefined;
    });
    setBusy(false);
  };
  if (value !== null)
    return (
      <div class="reveal">
        <CopyField lines label={label} text={value} />
        <Button kind="quiet" onClick={() => setValue(null)}>
          Hide
        </Button>
      </div>
    );
  return (
    <div class="reveal">
      <Button icon="key" busy={busy} onClick={() => void show()}>
        Show for 30 seconds
      </Button>
      <p class="hint">Showing the value is recorded in the history with your name.</p>
    </div>
  );
}
