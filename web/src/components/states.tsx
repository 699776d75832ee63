/** Placeholders that a view shows instead of data: loading, empty, and error, the latter two with a next step. */
import type { ComponentChildren } from "preact";
import type { ApiError } from "../api/client.ts";
import type { Resource } from "../api/resource.ts";
import { Button } from "./button.tsx";
import { Icon, type IconName } from "./icons.tsx";

export function Loading({ rows = 4 }: { rows?: number }) {
  return (
    <div class="loading" role="status">
      <span class="visually-hidden">Loading</span>
      {Array.from({ length: rows }, (_, i) => (
        <div key={i} class="skeleton" />
      ))}
    </div>
  );
}

interface EmptyProps {
  icon?: IconName;
  title: string;
  children?: ComponentChildren;
}

/** An empty view. The children explain what belongs here and offer the next step. */
export function Empty({ icon = "projects", title, children }: EmptyProps) {
  return (
    <div class="empty">
      <Icon name={icon} />
      <h2>{title}</h2>
      {children && <div class="empty-text">{children}</div>}
    </div>
  );
}

const REMEDIES: Record<number, string> = {
  403: "Your account may not see this. Ask an administrator or a maintainer of the project for a role.",
  404: "It does not exist, was deleted, or is not visible to you.",
  429: "There were too many requests. Wait a moment and try again.",
  503: "A service of Headrace is not available. It is usually back within seconds.",
};

export function ErrorState({ error, retry }: { error: ApiError; retry?: () => void }) {
  return (
    <div class="empty error" role="alert">
      <Icon name="cancel" />
      <h2>{error.message}</h2>
      <div class="empty-text">
        {REMEDIES[error.status] && <p>{REMEDIES[error.status]}</p>}
        {error.traceId && (
          <p class="muted">
            Trace <code>{error.traceId}</code>
          </p>
        )}
        {retry && (
          <Button icon="retry" onClick={retry}>
            Try again
          </Button>
        )}
      </div>
    </div>
  );
}

/** Show the data of a resource once it is loaded, and until then a loading indicator or the error. */
export function Loaded<T>({
  resource,
  rows,
  children,
}: {
  resource: Resource<T>;
  rows?: number;
  children: (data: T) => ComponentChildren;
}) {
  const { data, error, reload } = resource;
  if (data === undefined && error) return <ErrorState error={error} retry={reload} />;
  if (data === undefined) return <Loading {...(rows ? { rows } : {})} />;
  return (
    <>
      {error && (
        <p class="notice tone-warning" role="status">
          This may be out of date: {error.message}
        </p>
      )}
      {children(data)}
    </>
  );
}
