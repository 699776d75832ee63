import { listPeople } from "../../api/people.ts";
import { useResource } from "../../api/resource.ts";
import { listMails } from "../../api/server.ts";
import { Button } from "../../components/button.tsx";
import { StatusShape } from "../../components/icons.tsx";
import { Section } from "../../components/page.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { Table } from "../../components/table.tsx";
import { RelativeTime } from "../../components/times.tsx";
import type { Shape, Tone } from "../../format/status.ts";
import { plural, sentence } from "../../format/text.ts";
import { url } from "../../router/location.ts";

const SHOWN = 20;
const STYLES: Record<string, [Tone, Shape, string]> = {
  sent: ["success", "check", "Sent"],
  requested: ["waiting", "clock", "Waiting"],
  skipped: ["neutral", "slash", "Not sent"],
  gave_up: ["failure", "cross", "Abandoned"],
};

/** The latest mails, with the reason why one was not sent. */
export function Mails() {
  const mails = useResource("mails", async () => {
    const [listed, people] = await Promise.all([listMails(SHOWN), listPeople()]);
    return { listed, names: new Map(people.map(({ id, username }) => [id, username])) };
  });
  return (
    <Section
      title="Last mails"
      aside={
        <Button kind="quiet" icon="retry" onClick={mails.reload}>
          Refresh
        </Button>
      }
    >
      <Loaded resource={mails} rows={2}>
        {({ listed, names }) =>
          listed.length ? (
            <Table
              caption="Last mails"
              rows={listed}
              rowKey={({ id }) => id}
              columns={[
                {
                  name: "Subject",
                  kind: "wide",
                  cell: ({ id, title, user_id }) => (
                    <div class="build-link">
                      <a href={url(`/history/notification/${id}`)}>{title}</a>
                      <span class="facts">
                        {user_id === null ? "to an address" : `to ${names.get(user_id) ?? `user ${user_id}`}`}
                      </span>
                    </div>
                  ),
                },
                {
                  name: "State",
                  cell: ({ status, reason, attempts }) => (
                    <div class="build-link">
                      <MailStatus status={status} />
                      <span class="facts">
                        {reason && <span>{reason}</span>}
                        {attempts > 0 && <span>{plural(attempts, "failed attempt")}</span>}
                      </span>
                    </div>
                  ),
                },
                { name: "Written", kind: "narrow", cell: ({ requested_at }) => <RelativeTime time={requested_at} /> },
              ]}
            />
          ) : (
            <Empty icon="events" title="No mails yet">
              <p>The user who launched a build gets a mail when it fails.</p>
            </Empty>
          )
        }
      </Loaded>
    </Section>
  );
}

function MailStatus({ status }: { status: string }) {
  const [tone, shape, word] = STYLES[status] ?? (["neutral", "dot", sentence(status)] as const);
  return (
    <span class={`status tone-${tone}`}>
      <StatusShape shape={shape} />
      <span class="word">{word}</span>
    </span>
  );
}
