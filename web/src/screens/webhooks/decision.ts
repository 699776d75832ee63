/** The decision about a webhook delivery, and what to change so that such a delivery starts a build. */

import type { Delivery } from "../../api/deliveries.ts";
import type { Tone } from "../../format/status.ts";

const REMEDIES: Record<string, string> = {
  WEBHOOK_SIGNATURE_INVALID: "Copy the secret from the settings of the project to the forge again.",
  WEBHOOK_SENDER_UNKNOWN: "Under People, enter the sender’s name at the forge for one of the users.",
  WEBHOOK_SENDER_DISABLED: "Enable the user under People.",
  WEBHOOK_SENDER_NOT_ALLOWED: "Make the user a developer of the project.",
  LAUNCH_BUILD_NOT_ALLOWED: "Make the user a developer of the project.",
  WEBHOOK_BRANCH_IGNORED: "Change the branch in the settings of the project; * builds every branch.",
  WEBHOOK_PAYLOAD_INVALID: "At GitHub, choose the content type application/json.",
  WEBHOOK_PROVIDER_NOT_SUPPORTED: "Only webhooks of GitHub and GitLab are supported.",
  WEBHOOK_EVENT_IGNORED: "At the forge, select pushes only, or pull requests as well if the project builds them.",
  WEBHOOK_REF_IGNORED: "Turn on builds of tags in the settings of the project.",
  WEBHOOK_FORK_IGNORED: "Turn on builds of forks in the settings of the project.",
  WEBHOOK_REPOSITORY_MISMATCH: "Compare the repository in the settings of the project with the webhook’s.",
};

export interface Decision {
  word: string;
  tone: Tone;
  shape: "check" | "slash" | "cross" | "clock";
}

export function decisionStyle({ decision }: Pick<Delivery, "decision">): Decision {
  if (decision === "ACCEPTED") return { word: "Started a build", tone: "success", shape: "check" };
  if (decision === "WAITING") return { word: "Waits for approval", tone: "waiting", shape: "clock" };
  if (decision === "IGNORED") return { word: "Ignored", tone: "neutral", shape: "slash" };
  return { word: "Refused", tone: "failure", shape: "cross" };
}

/** Return what to change so that such a delivery starts a build, or an empty text. */
export function remedy({ code }: Pick<Delivery, "code">): string {
  return (code && REMEDIES[code]) || "";
}
