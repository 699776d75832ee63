import { Tabs } from "../../components/tabs.tsx";
import { url } from "../../router/location.ts";

export function PeopleTabs({ selected }: { selected: "People" | "Companies" }) {
  const tabs = [
    { name: "People", href: url("/people") },
    { name: "Companies", href: url("/companies") },
  ];
  return <Tabs label="People" tabs={tabs} selected={selected} />;
}
