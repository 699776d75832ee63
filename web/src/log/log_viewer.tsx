/** The log of one attempt of a job, with search, links to lines, and a button that follows new lines. */
import { useEffect, useRef, useState } from "preact/hooks";
import { rawLogUrl } from "../api/logs.ts";
import { toApiError } from "../api/resource.ts";
import { Button, LinkButton } from "../components/button.tsx";
import { copyText } from "../components/copy.tsx";
import { Icon } from "../components/icons.tsx";
import { plural } from "../format/text.ts";
import { useScreenKeys } from "../layout/keys.ts";
import { type LineRange, lineHash, readLineHash } from "./line_hash.ts";
import { LogController, type LogStatus } from "./log_controller.ts";
import { SearchField } from "./search_field.tsx";

interface Props {
  jobId: number;
  attempt: number;
  /** Shown while there are no lines. */
  empty: string;
}

const START: LogStatus = {
  total: 0,
  received: 0,
  isLoading: true,
  isFinished: false,
  isFollowing: false,
  newLines: 0,
  error: null,
};

export function LogViewer({ jobId, attempt, empty }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const controller = useRef<LogController | null>(null);
  const [status, setStatus] = useState<LogStatus>(START);
  const [isWrapped, setWrapped] = useState(localStorage.getItem("headrace.wrap") !== "no");
  const [hasTimes, setTimes] = useState(false);
  const [selected, setSelected] = useState<LineRange | null>(() => readLineHash(jobId));

  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    setStatus(START);
    const log = new LogController(element, jobId, attempt, setStatus);
    controller.current = log;
    return () => log.close();
  }, [jobId, attempt]);
  useEffect(() => controller.current?.setTimes(hasTimes), [hasTimes, jobId, attempt]);
  useEffect(() => localStorage.setItem("headrace.wrap", isWrapped ? "yes" : "no"), [isWrapped]);

  const select = (number: number, extend: boolean) => {
    const range =
      extend && selected
        ? { first: Math.min(selected.first, number), last: Math.max(selected.first, number) }
        : { first: number, last: number };
    setSelected(range);
    history.replaceState(null, "", window.location.pathname + window.location.search + lineHash(jobId, range));
    controller.current?.mark(range);
  };
  useScreenKeys([
    { key: "f", does: "Follow the end of the log", run: () => controller.current?.follow() },
    { key: "G", does: "End of the log", run: () => controller.current?.follow() },
    { key: "0", does: "Start of the log", run: () => controller.current?.toStart() },
  ]);
  const copy = () => void copyText(controller.current?.text(selected) ?? "");
  const { total, received, isLoading, isFinished, isFollowing, newLines, error } = status;
  return (
    <section class="log" aria-label="Log">
      <div class="log-tools">
        <SearchField controller={controller} lines={total} />
        <span class="log-count">
          {isLoading ? loadingText(received, total) : plural(total, "line")}
          {!isLoading && !isFinished && <span class="tone-running live-word"> live</span>}
        </span>
        <div class="log-buttons">
          <Button
            kind="quiet"
            icon="wrap"
            label="Wrap long lines"
            pressed={isWrapped}
            onClick={() => setWrapped(!isWrapped)}
          />
          <Button
            kind="quiet"
            icon="clock"
            label="Show when lines arrived"
            pressed={hasTimes}
            onClick={() => setTimes(!hasTimes)}
          />
          <Button
            kind="quiet"
            icon="copy"
            label={selected ? "Copy the selected lines" : "Copy the log"}
            onClick={copy}
          />
          <LinkButton kind="quiet" icon="file" href={rawLogUrl(jobId, attempt)}>
            Raw
          </LinkButton>
          <a
            class="button quiet icon-only"
            href={rawLogUrl(jobId, attempt)}
            download={`job-${jobId}-${attempt}.log`}
            aria-label="Download the log"
            title="Download the log"
          >
            <Icon name="download" />
          </a>
        </div>
      </div>
      {error && (
        <p class="notice tone-failure" role="alert">
          The log cannot be read: {toApiError(error).message}
        </p>
      )}
      <div class="log-frame">
        {/* biome-ignore lint/a11y/useKeyWithClickEvents: a click on a line's number selects the line; keys scroll */}
        <div
          ref={scroller}
          class={`log-lines${isWrapped ? " wrapped" : ""}`}
          tabIndex={0}
          role="region"
          aria-label="Lines of the log"
          onClick={(event) => {
            const number = controller.current?.numberAt(event);
            if (number) select(number, event.shiftKey);
          }}
        />
        {!isLoading && total === 0 && !error && <p class="log-empty">{empty}</p>}
        {newLines > 0 && !isFollowing && (
          <button type="button" class="log-pill" onClick={() => controller.current?.follow()}>
            <Icon name="down" /> {plural(newLines, "new line")}
          </button>
        )}
      </div>
    </section>
  );
}

function loadingText(received: number, total: number): string {
  return received ? `Loading: ${received.toLocaleString("en")} of ${plural(total, "line")} …` : "Loading …";
}
