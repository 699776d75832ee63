/** One job: its status, attempts, actions, artifacts and log. */
import { type Attempt, actOnJob, type JobAction, type OverviewJob } from "../../api/builds.ts";
import { ActionButton } from "../../components/button.tsx";
import { StatusBadge } from "../../components/status_badge.tsx";
import { Duration } from "../../components/times.tsx";
import { failureSentence, isActive } from "../../format/status.ts";
import { LogViewer } from "../../log/log_viewer.tsx";
import { Artifacts } from "./artifacts.tsx";

interface Props {
  job: OverviewJob;
  attempt: number;
  /** Whether the job is shown as of an earlier time, without actions. */
  isPast: boolean;
  attemptHref: (attempt: number) => string;
  reload: () => void;
}

export function JobPanel({ job, attempt, isPast, attemptHref, reload }: Props) {
  const shown = job.attempts.find(({ number }) => number === attempt) ?? job.attempts.at(-1);
  const isLatest = !shown || shown.number === job.attempt;
  return (
    <section class="job-panel" aria-label={`Job ${job.name}`}>
      <header class="job-header">
        <div class="job-title">
          <h2>{job.name}</h2>
          <StatusBadge status={isLatest ? job.status : (shown?.status ?? job.status)} />
        </div>
        {!isPast && <JobActions job={job} reload={reload} />}
      </header>
      <JobFacts job={job} attempt={shown} />
      {job.attempts.length > 1 && (
        <nav class="attempts" aria-label="Attempts">
          {job.attempts.map(({ number, status }) => (
            <a key={number} href={attemptHref(number)} aria-current={number === shown?.number ? "true" : undefined}>
              <StatusBadge status={status} compact /> Attempt {number}
            </a>
          ))}
        </nav>
      )}
      <JobNotices job={job} attempt={shown} />
      {isLatest && job.artifacts.length > 0 && <Artifacts jobId={job.id} artifacts={job.artifacts} />}
      {shown && !shown.started_at && <p class="log-empty">{emptyText(job, shown)}</p>}
      {shown?.started_at && (
        <LogViewer
          key={`${job.id}-${shown.number}`}
          jobId={job.id}
          attempt={shown.number}
          empty={emptyText(job, shown)}
        />
      )}
    </section>
  );
}

function emptyText(job: OverviewJob, attempt: Attempt): string {
  if (job.waiting_for && attempt.number === job.attempt) return `No output yet. This job waits: ${job.waiting_for}`;
  return isActive(attempt.status) ? "No output yet." : "This attempt wrote no output.";
}

function JobFacts({ job, attempt }: { job: OverviewJob; attempt: Attempt | undefined }) {
  const start = attempt?.started_at ?? null;
  return (
    <p class="facts">
      <span>{job.stage}</span>
      {attempt?.runner && <span>on {attempt.runner}</span>}
      {start && (
        <span>
          {attempt?.completed_at ? "took" : "runs for"} <Duration start={start} end={attempt?.completed_at ?? null} />
        </span>
      )}
      {job.image && (
        <span>
          in <code>{job.image}</code>
        </span>
      )}
      {job.tags.map((tag) => (
        <span key={tag} class="tag">
          {tag}
        </span>
      ))}
      {job.coverage != null && attempt?.number === job.attempt && <span>coverage {job.coverage} %</span>}
      {job.allow_failure && <span>may fail</span>}
    </p>
  );
}

function JobNotices({ job, attempt }: { job: OverviewJob; attempt: Attempt | undefined }) {
  const isLatest = attempt?.number === job.attempt;
  if (job.waiting_for && (isLatest || !attempt))
    return <p class="notice tone-waiting big">Waiting: {job.waiting_for}</p>;
  if (job.status === "MANUAL") return <p class="notice tone-waiting">This job starts when someone presses Play.</p>;
  if (!attempt || !["FAILED", "LOST"].includes(attempt.status)) return null;
  const reason = (attempt.message || failureSentence(attempt.reason) || "The job failed").replace(/\.$/, "");
  const code =
    attempt.exit_code && !reason.includes(String(attempt.exit_code)) ? `, exit code ${attempt.exit_code}` : "";
  return <p class="notice tone-failure">{`${reason}${code}.`}</p>;
}

function JobActions({ job, reload }: { job: OverviewJob; reload: () => void }) {
  const act = (action: JobAction, message: string) => async () => {
    await actOnJob(job.id, action);
    reload();
    return message;
  };
  return (
    <div class="actions">
      {job.status === "MANUAL" && (
        <ActionButton kind="primary" icon="play" action={act("play", `${job.name} starts`)}>
          Play
        </ActionButton>
      )}
      {["SUCCESS", "FAILED", "CANCELED", "WARNING"].includes(job.status) && (
        <ActionButton icon="retry" action={act("retry", `${job.name} runs again`)}>
          Retry job
        </ActionButton>
      )}
      {["QUEUED", "ASSIGNED", "RUNNING"].includes(job.status) && (
        <ActionButton icon="cancel" action={act("cancel", `${job.name} is being canceled`)}>
          Cancel job
        </ActionButton>
      )}
    </div>
  );
}
