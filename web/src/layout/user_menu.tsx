import { useEffect, useRef, useState } from "preact/hooks";
import { session, signOut } from "../api/session.ts";
import { runAction } from "../components/button.tsx";
import { Icon } from "../components/icons.tsx";
import { showToast } from "../components/toasts.tsx";
import { url } from "../router/location.ts";
import { setTheme, type Theme, theme } from "./theme.ts";

const THEMES: [Theme, string][] = [
  ["system", "System"],
  ["light", "Light"],
  ["dark", "Dark"],
];

/** The menu of the signed-in user: theme, own account, documentation, sign out. */
export function UserMenu() {
  const [isOpen, setOpen] = useState(false);
  const menu = useRef<HTMLDivElement>(null);
  const opener = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (!isOpen) return;
    const onPress = ({ target }: PointerEvent) => {
      if (!menu.current?.contains(target as Node)) setOpen(false);
    };
    const onKey = ({ key }: KeyboardEvent) => {
      if (key !== "Escape") return;
      opener.current?.focus();
      setOpen(false);
    };
    document.addEventListener("pointerdown", onPress);
    document.addEventListener("keydown", onKey);
    return () => {
      document.removeEventListener("pointerdown", onPress);
      document.removeEventListener("keydown", onKey);
    };
  }, [isOpen]);
  const state = session.value;
  if (state.status !== "signed-in") return null;
  const leave = () =>
    runAction(async () => {
      await signOut();
      showToast("Signed out");
      return undefined;
    });
  return (
    <div class="user-menu" ref={menu}>
      <button
        ref={opener}
        type="button"
        class="button quiet"
        aria-expanded={isOpen}
        aria-haspopup="true"
        title="Account"
        onClick={() => setOpen(!isOpen)}
      >
        <Icon name="user" />
        <span class="words">{state.user.username}</span>
      </button>
      {isOpen && (
        <div class="menu">
          <p class="menu-title">{state.user.username}</p>
          <fieldset>
            <legend>Theme</legend>
            {THEMES.map(([value, name]) => (
              <label key={value}>
                <input type="radio" name="theme" checked={theme.value === value} onChange={() => setTheme(value)} />{" "}
                {name}
              </label>
            ))}
          </fieldset>
          <a href={url("/me")} onClick={() => setOpen(false)}>
            My account
          </a>
          <a href="/api/docs" target="_blank" rel="noreferrer">
            API documentation
          </a>
          <a href="/ui/licenses">Licenses of this page</a>
          <button type="button" onClick={() => void leave()}>
            Sign out
          </button>
        </div>
      )}
    </div>
  );
}
