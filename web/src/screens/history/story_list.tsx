import { useEffect, useRef } from "preact/hooks";
import type { Entry } from "../../api/history.ts";
import { ActionButton } from "../../components/button.tsx";
import { copyText } from "../../components/copy.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { requestLink } from "./history_link.tsx";
import { formatValue } from "./state_diff.ts";
import { entryTitle, entryTone, eventFacts } from "./story.ts";

interface Props {
  /** Newest first. */
  entries: Entry[];
  version: number;
  choose: (version: number) => void;
  hasOlder: boolean;
  loadOlder: () => Promise<void>;
}

/** The entries of an object's history, newest first. The selected one shows its details. */
export function StoryList({ entries, version, choose, hasOlder, loadOlder }: Props) {
  return (
    <section class="story" aria-label="What happened">
      <ol reversed>
        {entries.map((entry) => (
          <StoryEntry key={entry.version} entry={entry} isShown={entry.version === version} choose={choose} />
        ))}
      </ol>
      {hasOlder && (
        <p class="more">
          <ActionButton
            action={async () => {
              await loadOlder();
              return undefined;
            }}
          >
            Show older entries
          </ActionButton>
        </p>
      )}
    </section>
  );
}

function StoryEntry({ entry, isShown, choose }: { entry: Entry; isShown: boolean; choose: Props["choose"] }) {
  const { version, at, actor, command, events, trace_id } = entry;
  const names = events.map(({ name }) => name);
  const element = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (isShown && element.current) scrollWithinList(element.current);
  }, [isShown]);
  return (
    <li ref={element} class={`story-entry tone-${entryTone(names)}${isShown ? " shown" : ""}`}>
      <button type="button" aria-current={isShown ? "true" : undefined} onClick={() => choose(version)}>
        <span class="story-what">{entryTitle(command, names)}</span>
        <span class="facts">
          <span>{actor.name}</span>
          <RelativeTime time={at} />
          <span>version {version}</span>
        </span>
      </button>
      {isShown && (
        <div class="story-details">
          {events.map(({ name, data }, i) => (
            <dl key={i} class="facts-list" aria-label={name}>
              {eventFacts(data).map(([field, value]) => (
                <div key={field}>
                  <dt>{field}</dt>
                  <dd>{formatValue(value)}</dd>
                </div>
              ))}
            </dl>
          ))}
          <p class="facts">
            <span>
              by <code>{command}</code>
            </span>
            {trace_id && (
              <>
                <button type="button" class="text-button" title={trace_id} onClick={() => void copyText(trace_id)}>
                  Copy trace id
                </button>
                <a href={requestLink(trace_id, at)}>All changes of this request</a>
              </>
            )}
          </p>
        </div>
      )}
    </li>
  );
}

/** Scroll the list, but not the page, so that the entry is visible. */
function scrollWithinList(entry: HTMLElement): void {
  const list = entry.closest(".story");
  if (!list) return;
  const { top, bottom } = entry.getBoundingClientRect();
  const visible = list.getBoundingClientRect();
  if (top < visible.top) list.scrollTop -= visible.top - top;
  else if (bottom > visible.bottom) list.scrollTop += Math.min(bottom - visible.bottom, top - visible.top);
}
