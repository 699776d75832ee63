import { useState } from "preact/hooks";
import { listMyTokens, revokeMyToken } from "../../api/account.ts";
import { useResource } from "../../api/resource.ts";
import { Button } from "../../components/button.tsx";
import { Section } from "../../components/page.tsx";
import { Empty, Loaded } from "../../components/states.tsx";
import { TokenTable } from "../people/token_table.tsx";
import { NewTokenDialog } from "./new_token_dialog.tsx";

/** Personal access tokens for scripts and other programs. */
export function MyTokens() {
  const tokens = useResource("my-tokens", listMyTokens);
  const [isAdding, setAdding] = useState(false);
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setAdding(true)}>
      New token
    </Button>
  );
  const revoke = async (id: number) => {
    await revokeMyToken(id);
    tokens.reload();
  };
  return (
    <Section title="Access tokens" aside={tokens.data?.length ? add : null}>
      <Loaded resource={tokens} rows={2}>
        {(listed) =>
          listed.length ? (
            <TokenTable tokens={listed} revoke={({ id }) => revoke(id)} />
          ) : (
            <Empty icon="key" title="No tokens yet">
              <p>
                A token lets a script or another program use the API in your name, with the rights that you choose and
                without your password.
              </p>
              {add}
            </Empty>
          )
        }
      </Loaded>
      {isAdding && <NewTokenDialog onClose={() => setAdding(false)} onCreated={tokens.reload} />}
    </Section>
  );
}
