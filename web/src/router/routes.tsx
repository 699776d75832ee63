/** The screens by path. The code of a screen is loaded when it is first shown. */
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { toApiError } from "../api/resource.ts";
import { ErrorState, Loading } from "../components/states.tsx";

export type Parameters = Record<string, string>;
export type Screen = ComponentType<{ parameters: Parameters }>;
type Load = () => Promise<{ default: Screen }>;

export interface Route {
  pattern: RegExp;
  names: string[];
  load: Load;
}

/** Define a route. `pattern` has parameters like `:id`. */
export function route(pattern: string, load: Load): Route {
  const names: string[] = [];
  const source = pattern.replace(/:(\w+)/g, (_, name: string) => {
    names.push(name);
    return "([^/]+)";
  });
  return { pattern: new RegExp(`^${source}$`), names, load };
}

export function matchRoute(routes: Route[], path: string): { route: Route; parameters: Parameters } | null {
  for (const candidate of routes) {
    const match = candidate.pattern.exec(path);
    if (!match) continue;
    const values = match.slice(1).map(decodeURIComponent);
    return {
      route: candidate,
      parameters: Object.fromEntries(candidate.names.map((name, i) => [name, values[i] ?? ""])),
    };
  }
  return null;
}

const loaded = new Map<Route, Screen>();

/** The screen of a route. While its code is loaded, a loading indicator is shown; if that fails, the error. */
export function RouteView({ route: shown, parameters }: { route: Route; parameters: Parameters }) {
  const [, setVersion] = useState(0);
  const [failure, setFailure] = useState<Error | null>(null);
  const Shown = loaded.get(shown);
  useEffect(() => {
    setFailure(null);
    if (Shown) return;
    shown.load().then(
      (module) => {
        loaded.set(shown, module.default);
        setVersion((version) => version + 1);
      },
      (error: Error) => setFailure(error),
    );
  }, [shown]);
  if (Shown) return <Shown key={JSON.stringify(parameters)} parameters={parameters} />;
  if (failure) return <ErrorState error={toApiError(failure)} retry={() => window.location.reload()} />;
  return <Loading />;
}
