/** The whole page: the sign-in form, or the frame with the screen of the current address. */
import { session } from "./api/session.ts";
import { Page } from "./components/page.tsx";
import { Empty } from "./components/states.tsx";
import { Frame } from "./layout/frame.tsx";
import { location, url } from "./router/location.ts";
import { matchRoute, RouteView, route } from "./router/routes.tsx";
import { SignIn } from "./screens/sign_in/sign_in.tsx";

const ROUTES = [
  route("/", () => import("./screens/home/home_screen.tsx")),
  route("/projects", () => import("./screens/projects/projects_screen.tsx")),
  route("/projects/:id", () => import("./screens/project/project_screen.tsx")),
  route("/projects/:id/:tab", () => import("./screens/project/project_screen.tsx")),
  route("/builds/:id", () => import("./screens/build/build_screen.tsx")),
  route("/queue", () => import("./screens/queue/queue_screen.tsx")),
  route("/runners", () => import("./screens/runners/runners_screen.tsx")),
  route("/events", () => import("./screens/events/events_screen.tsx")),
  route("/statistics", () => import("./screens/statistics/statistics_screen.tsx")),
  route("/me", () => import("./screens/me/me_screen.tsx")),
  route("/secrets", () => import("./screens/access/secrets_screen.tsx")),
  route("/credentials", () => import("./screens/access/credentials_screen.tsx")),
  route("/executors", () => import("./screens/access/executors_screen.tsx")),
  route("/people", () => import("./screens/people/people_screen.tsx")),
  route("/people/:id", () => import("./screens/people/person_screen.tsx")),
  route("/companies", () => import("./screens/people/companies_screen.tsx")),
  route("/webhooks", () => import("./screens/webhooks/webhooks_screen.tsx")),
  route("/history", () => import("./screens/history/activity_screen.tsx")),
  route("/history/:kind/:id", () => import("./screens/history/history_screen.tsx")),
  route("/system", () => import("./screens/system/system_screen.tsx")),
  route("/settings", () => import("./screens/settings/settings_screen.tsx")),
];

export function App() {
  const { status } = session.value;
  if (status === "unknown") return null;
  if (status === "signed-out") return <SignIn />;
  const match = matchRoute(ROUTES, location.value.path);
  return <Frame>{match ? <RouteView {...match} /> : <NotFound />}</Frame>;
}

function NotFound() {
  return (
    <Page title="Page not found">
      <Empty icon="search" title="There is no page at this address">
        <p>
          Press <kbd>Ctrl K</kbd> to find a project, a build or a screen, or go to the <a href={url("/")}>home page</a>.
        </p>
      </Empty>
    </Page>
  );
}
