import { Tabs } from "../../components/tabs.tsx";
import { url } from "../../router/location.ts";

/** The tabs of the screens for what jobs may use: secrets, credentials and executors. */
export function AccessTabs({ selected }: { selected: "Secrets" | "Credentials" | "Executors" }) {
  const tabs = ["Secrets", "Credentials", "Executors"].map((name) => ({ name, href: url(`/${name.toLowerCase()}`) }));
  return <Tabs label="What jobs may use" tabs={tabs} selected={selected} />;
}
