import { useState } from "preact/hooks";
import { type BuildPlan, type BuildVariable, planBuild } from "../../api/builds.ts";
import type { Project } from "../../api/projects.ts";
import { ActionButton } from "../../components/button.tsx";
import { StatusShape } from "../../components/icons.tsx";
import { plural } from "../../format/text.ts";

const REMEDIES: Record<string, string> = {
  REPOSITORY_UNREACHABLE: "Check the URL of the repository and its login or SSH key.",
  REF_NOT_FOUND: "Check the name of the branch.",
  SPEC_NOT_FOUND: "Commit the file, or change its path in the settings of the project.",
};

interface Props {
  project: Project;
  /** null: the branch of the project. */
  branch: string | null;
  variables?: BuildVariable[];
  label: string;
  /** Called with the request; shows certain errors elsewhere. Returns null if it has shown one. */
  around?: (request: Promise<BuildPlan>) => Promise<BuildPlan | null>;
}

/** A button that compiles the project's pipeline file without launching a build, and the resulting jobs or errors. */
export function PlanCheck({ project, branch, variables = [], label, around = (request) => request }: Props) {
  const [result, setResult] = useState<{ inputs: string; plan: BuildPlan } | null>(null);
  const inputs = JSON.stringify([branch, variables]);
  const check = async () => {
    const plan = await around(planBuild(project.id, { ref: branch, variables }));
    setResult(plan && { inputs, plan });
    return undefined;
  };
  return (
    <div class="plan-check">
      <ActionButton action={check}>{label}</ActionButton>
      <div role="status">{result?.inputs === inputs && <PlanView plan={result.plan} />}</div>
    </div>
  );
}

function PlanView({ plan }: { plan: BuildPlan }) {
  if (plan.errors.length > 0)
    return (
      <ul class="plan-problems">
        {plan.errors.map(({ code, message }) => (
          <li key={message}>
            <StatusShape shape="cross" /> {message} {REMEDIES[code]}
          </li>
        ))}
      </ul>
    );
  return (
    <>
      <p>
        The repository can be read, and <code>{plan.spec_file_path}</code> at <code>{plan.sha?.slice(0, 8)}</code> is
        valid: {plural(plan.jobs.length, "job")}.
      </p>
      <ul>
        {plan.jobs.map(({ name, stage, when, steps, tags }) => (
          <li key={name}>
            <strong>{name}</strong>{" "}
            <span class="muted">{[stage, when === "manual" ? when : "", ...tags].filter(Boolean).join(", ")}</span>
            {steps.length > 0 && <> {steps.join(" ")}</>}
          </li>
        ))}
      </ul>
      {plan.warnings.map((warning) => (
        <p key={warning} class="muted">
          {warning}
        </p>
      ))}
    </>
  );
}
