import type { ApiToken } from "../../api/people.ts";
import { ConfirmButton } from "../../components/dialog.tsx";
import { Table } from "../../components/table.tsx";
import { RelativeTime } from "../../components/times.tsx";
import { isExpired, scopeSentence } from "./scopes.ts";

interface Props {
  tokens: ApiToken[];
  revoke: (token: ApiToken) => Promise<void>;
}

/** Personal access tokens with their scopes, their expiry date and their last use. */
export function TokenTable({ tokens, revoke }: Props) {
  return (
    <Table
      caption="Tokens"
      rows={tokens}
      rowKey={({ id }) => id}
      columns={[
        {
          name: "Name",
          kind: "wide",
          cell: ({ name, scopes }) => (
            <div class="build-link">
              <strong>{name}</strong>
              <span class="facts" title={scopes.join(", ")}>
                {scopeSentence(scopes)}
              </span>
            </div>
          ),
        },
        { name: "Last used", kind: "narrow", cell: ({ last_used_at }) => <RelativeTime time={last_used_at} /> },
        {
          name: "Ends",
          kind: "narrow",
          cell: ({ expires_at }) =>
            isExpired(expires_at) ? (
              <span class="status tone-failure">expired {expires_at}</span>
            ) : (
              (expires_at ?? <span class="muted">never</span>)
            ),
        },
        {
          name: "Actions",
          kind: "actions",
          cell: (token) => (
            <ConfirmButton
              label="Revoke"
              kind="quiet"
              title={`Revoke ${token.name}?`}
              confirm="Revoke"
              action={async () => {
                await revoke(token);
                return `Token ${token.name} revoked`;
              }}
            >
              <p>Programs that use it can no longer sign in. This cannot be undone.</p>
            </ConfirmButton>
          ),
        },
      ]}
    />
  );
}
