import { useState } from "preact/hooks";
import { useResource } from "../../api/resource.ts";
import { getRegistration } from "../../api/runners.ts";
import { CopyField } from "../../components/copy.tsx";
import { Dialog } from "../../components/dialog.tsx";
import { SelectField, TextField } from "../../components/form.tsx";
import { Loaded } from "../../components/states.tsx";
import { Segmented } from "../../components/tabs.tsx";

type Program = "headrace" | "gitlab";

/** The commands that register and start a runner, ready to copy. */
export function AddRunnerDialog({ onClose }: { onClose: () => void }) {
  const registration = useResource("registration", getRegistration);
  const [program, setProgram] = useState<Program>("headrace");
  const [executor, setExecutor] = useState("docker");
  const [tags, setTags] = useState("");
  return (
    <Dialog title="Add a runner" wide onClose={onClose}>
      <div class="dialog-body">
        <Segmented
          label="Program"
          options={[
            ["headrace", "Headrace agent"],
            ["gitlab", "GitLab Runner"],
          ]}
          value={program}
          onChange={setProgram}
        />
        <div class="field-row">
          <SelectField
            label="Jobs run"
            value={executor}
            options={[
              ["docker", "in containers (docker)"],
              ["shell", "as processes (shell)"],
              ["kubernetes", "in pods (kubernetes)"],
            ]}
            onChange={setExecutor}
          />
          <TextField
            label="Tags"
            placeholder="linux, gpu"
            hint="Jobs with tags go to runners that have all of them."
            value={tags}
            onInput={setTags}
          />
        </div>
        <Loaded resource={registration}>
          {({ registrationToken }) => (
            <>
              <p>Run this on the machine that is to run jobs:</p>
              <CopyField lines label="commands" text={commands(program, registrationToken, executor, tags)} />
              <p class="hint">
                The token lets any machine join as a runner. Treat it as a password. The runner appears on this page as
                soon as it registers.
              </p>
            </>
          )}
        </Loaded>
      </div>
    </Dialog>
  );
}

function commands(program: Program, token: string, executor: string, tagText: string): string {
  const tags = tagText.split(/[\s,]+/).filter(Boolean);
  const server = window.location.origin;
  if (program === "headrace") {
    const options = tags.map((tag) => ` --tag ${quoted(tag)}`).join("");
    return [
      `export HEADRACE_REGISTRATION_TOKEN=${token}`,
      `headrace agent register --url ${server} --executor ${executor}${options}`,
      "headrace agent run",
    ].join("\n");
  }
  const options = [
    tags.length ? ` --tag-list ${quoted(tags.join(","))}` : " --run-untagged",
    executor === "docker" ? " --docker-image alpine:3" : "",
  ].join("");
  return [
    `gitlab-runner register --non-interactive --url ${server} --registration-token ${token} --executor ${executor}${options}`,
    "gitlab-runner run",
  ].join("\n");
}

function quoted(text: string): string {
  return /^[\w.,:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
