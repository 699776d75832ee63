/** The frame around every screen: navigation bar, top bar, dialogs that keys open, and messages. */
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { isAdministrator, session } from "../api/session.ts";
import { Icon } from "../components/icons.tsx";
import { Toasts } from "../components/toasts.tsx";
import { startLiveEvents } from "../live/events.ts";
import { location, url } from "../router/location.ts";
import { Breadcrumbs } from "./breadcrumbs.tsx";
import { GoTo, isGoToOpen } from "./go_to.tsx";
import { isHelpOpen, KeyHelp } from "./key_help.tsx";
import { useKeys } from "./keys.ts";
import { LiveDot } from "./live_dot.tsx";
import { DESTINATIONS, isWithin } from "./navigation.ts";
import { UserMenu } from "./user_menu.tsx";

export function Frame({ children }: { children: ComponentChildren }) {
  useEffect(() => startLiveEvents(), [session.value.status]);
  useKeys();
  return (
    <div class="frame">
      <a class="skip-link" href="#content">
        Skip to content
      </a>
      <Rail />
      <div class="main">
        <header class="top-bar">
          <Breadcrumbs />
          <div class="top-bar-tools">
            <button
              type="button"
              class="go-to-button"
              aria-keyshortcuts="Control+K"
              onClick={() => (isGoToOpen.value = true)}
            >
              <Icon name="search" />
              <span class="words">Go to …</span>
              <kbd>Ctrl K</kbd>
            </button>
            <LiveDot />
            <button
              type="button"
              class="button quiet icon-only"
              aria-label="Keys"
              title="Keys (?)"
              onClick={() => (isHelpOpen.value = true)}
            >
              <Icon name="help" />
            </button>
            <UserMenu />
          </div>
        </header>
        <main id="content" tabIndex={-1}>
          {children}
        </main>
      </div>
      <Toasts />
      {isGoToOpen.value && <GoTo />}
      {isHelpOpen.value && <KeyHelp />}
    </div>
  );
}

function Rail() {
  const { path } = location.value;
  const shown = DESTINATIONS.filter(({ forAdministrators }) => !forAdministrators || isAdministrator());
  return (
    <nav class="rail" aria-label="Main">
      <a class="brand" href={url("/")}>
        <Brand />
        <span>Headrace</span>
      </a>
      <ul>
        {shown.map((destination) => (
          <li key={destination.path} class={destination.forAdministrators ? "administration" : ""}>
            <a href={url(destination.path)} aria-current={isWithin(path, destination) ? "page" : undefined}>
              <Icon name={destination.icon} />
              <span>{destination.name}</span>
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

/** The logo of Headrace: water that flows to a mill. */
export function Brand() {
  return (
    <svg class="brand-sign" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <rect width="24" height="24" rx="6" />
      <path d="M4.5 9c2.5-3 5 3 7.5 0s5 3 7.5 0M4.5 15c2.5-3 5 3 7.5 0s5 3 7.5 0" />
    </svg>
  );
}
