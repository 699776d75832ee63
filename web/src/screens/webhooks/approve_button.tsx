import { approveDelivery, type Delivery } from "../../api/deliveries.ts";
import { ConfirmButton } from "../../components/dialog.tsx";
import { shortSha } from "../../format/text.ts";

interface Props {
  delivery: Delivery;
  scope: "admin" | "developer";
  reload: () => void;
}

/** A button that approves the build of a fork's commit, after a confirmation. */
export function ApproveButton({ delivery, scope, reload }: Props) {
  const commit = shortSha(delivery.sha ?? "");
  const approve = async () => {
    await approveDelivery(delivery, scope);
    reload();
    return `The build of ${commit} is queued`;
  };
  return (
    <ConfirmButton label="Approve" title={`Build ${commit} of a fork?`} confirm="Build it" action={approve}>
      <p>
        Read the commit first: its scripts run on the runners of the project. They get no secrets, but they can use the
        credential that fetches the repository.
      </p>
    </ConfirmButton>
  );
}
