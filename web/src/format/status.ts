/** Name, symbol and color of each status of builds and jobs. */
export type Tone = "success" | "failure" | "warning" | "running" | "waiting" | "neutral";
export type Shape = "check" | "cross" | "alert" | "ring" | "clock" | "slash" | "dot" | "play" | "skip";

export interface StatusStyle {
  word: string;
  tone: Tone;
  shape: Shape;
}

const STYLES: Record<string, StatusStyle> = {
  QUEUED: { word: "Waiting", tone: "waiting", shape: "clock" },
  PLANNED: { word: "Planned", tone: "waiting", shape: "clock" },
  CREATED: { word: "Not started", tone: "neutral", shape: "dot" },
  MANUAL: { word: "Manual", tone: "waiting", shape: "play" },
  ASSIGNED: { word: "Starting", tone: "running", shape: "ring" },
  RUNNING: { word: "Running", tone: "running", shape: "ring" },
  CANCELING: { word: "Canceling", tone: "warning", shape: "ring" },
  SUCCESS: { word: "Passed", tone: "success", shape: "check" },
  WARNING: { word: "Passed with warnings", tone: "warning", shape: "alert" },
  FAILED: { word: "Failed", tone: "failure", shape: "cross" },
  LOST: { word: "Runner lost", tone: "failure", shape: "cross" },
  CANCELED: { word: "Canceled", tone: "neutral", shape: "slash" },
  KILLED: { word: "Canceled", tone: "neutral", shape: "slash" },
  SKIPPED: { word: "Skipped", tone: "neutral", shape: "skip" },
  NONE: { word: "No builds", tone: "neutral", shape: "dot" },
};

export function statusStyle(status: string): StatusStyle {
  return STYLES[status] ?? { word: status, tone: "neutral", shape: "dot" };
}

const ACTIVE = new Set(["QUEUED", "PLANNED", "ASSIGNED", "RUNNING", "CANCELING"]);

/** Whether a build or job with this status waits in the queue or runs. False for jobs that are not queued yet. */
export function isActive(status: string): boolean {
  return ACTIVE.has(status);
}

const FAILURES: Record<string, string> = {
  script_failure: "A command failed.",
  runner_system_failure: "The runner had a problem; the job itself may be fine.",
  job_execution_timeout: "The job took longer than its timeout.",
  stuck_or_timeout_failure: "The runner stopped responding.",
  unmet_prerequisites: "A prerequisite of the job failed.",
};

/** A sentence about a job's failure reason, or an empty text for an unknown reason. */
export function failureSentence(reason: string): string {
  return FAILURES[reason] ?? "";
}
