import { LIMITS, type Limits } from "../../api/project_settings.ts";
import { TextField } from "../../components/form.tsx";

const LABELS: Record<keyof Limits, string> = {
  keep_build_days: "Days to keep builds",
  keep_log_days: "Days to keep logs",
  keep_number_log: "Builds that keep their logs",
  keep_artifact_days: "Days to keep artifacts",
  keep_number_artifact: "Builds that keep their artifacts",
};

/** The limits for finished builds and their data. */
export interface Retention extends Limits {
  /** Null: the server's setting. */
  keep_number_build: number | null;
}

interface Props {
  retention: Partial<Retention>;
  change: (changed: Partial<Retention>) => void;
}

export function LimitFields({ retention, change }: Props) {
  return (
    <>
      <TextField
        label="Builds to keep"
        type="number"
        min={1}
        hint="Older finished builds are deleted with their logs and artifacts. Empty: the setting of the server."
        value={String(retention.keep_number_build ?? "")}
        onInput={(value) => change({ keep_number_build: value === "" ? null : Number(value) })}
      />
      {LIMITS.map((name) => (
        <TextField
          key={name}
          label={LABELS[name]}
          type="number"
          min={1}
          hint="Empty: the setting of the server."
          value={String(retention[name] || "")}
          onInput={(value) => change({ [name]: Number(value) })}
        />
      ))}
    </>
  );
}
