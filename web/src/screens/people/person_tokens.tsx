import { listTokens, revokeToken } from "../../api/people.ts";
import { useResource } from "../../api/resource.ts";
import { Section } from "../../components/page.tsx";
import { Loaded } from "../../components/states.tsx";
import { TokenTable } from "./token_table.tsx";

/** The tokens of a user, for an administrator who has to revoke one. */
export function PersonTokens({ userId }: { userId: number }) {
  const tokens = useResource(`tokens-${userId}`, () => listTokens(userId));
  const revoke = async (id: number) => {
    await revokeToken(userId, id);
    tokens.reload();
  };
  return (
    <Section title="Access tokens">
      <Loaded resource={tokens} rows={1}>
        {(listed) =>
          listed.length ? (
            <TokenTable tokens={listed} revoke={({ id }) => revoke(id)} />
          ) : (
            <p class="muted">No tokens. Users create them under “My account”.</p>
          )
        }
      </Loaded>
    </Section>
  );
}
