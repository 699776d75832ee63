import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useScreenKeys } from "../layout/keys.ts";
import type { LogController } from "./log_controller.ts";
import { firstMatchFrom, MAX_MATCHES, type Match } from "./log_search.ts";

const TYPING_MS = 150;

/** Search in the log: `/` focuses it, Enter and `n` go to the next match, `N` to the previous one. */
export function SearchField({ controller, lines }: { controller: RefObject<LogController | null>; lines: number }) {
  const field = useRef<HTMLInputElement>(null);
  const [text, setText] = useState("");
  const [matches, setMatches] = useState<Match[]>([]);
  const [current, setCurrent] = useState(0);

  useEffect(() => {
    const timer = setTimeout(() => {
      const log = controller.current;
      const found = log?.find(text) ?? [];
      setMatches(found);
      if (found.length === 0) log?.hideMatches();
      else show(found, firstMatchFrom(found, log?.firstVisibleNumber ?? 1));
    }, TYPING_MS);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(() => {
    if (text) setMatches(controller.current?.find(text) ?? []);
  }, [lines]);

  const show = (found: Match[], index: number) => {
    setCurrent(index);
    controller.current?.showMatch(found, index);
  };
  const move = (step: 1 | -1) => {
    if (matches.length) show(matches, (current + step + matches.length) % matches.length);
  };
  const leave = () => {
    setText("");
    field.current?.blur();
  };
  useScreenKeys([
    { key: "/", does: "Search in the log", run: () => field.current?.select() },
    { key: "n", does: "Next match", run: () => move(1) },
    { key: "N", does: "Previous match", run: () => move(-1) },
  ]);
  const count =
    matches.length >= MAX_MATCHES ? `${MAX_MATCHES.toLocaleString("en")}+` : matches.length.toLocaleString("en");
  return (
    <div class="log-search">
      <input
        ref={field}
        type="search"
        aria-label="Search in the log"
        placeholder="Search the log  /"
        value={text}
        onInput={({ currentTarget }) => setText(currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter") move(event.shiftKey ? -1 : 1);
          else if (event.key === "Escape") leave();
        }}
      />
      {text && (
        <span class="match-count" role="status">
          {matches.length ? `${(current + 1).toLocaleString("en")} of ${count}` : "no match"}
        </span>
      )}
    </div>
  );
}
