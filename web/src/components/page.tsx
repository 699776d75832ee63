/** The layout of a screen: title, subtitle, actions and content. */
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { breadcrumbs, type Crumb } from "../layout/breadcrumbs.tsx";

interface PageProps {
  title: string;
  /** Shown before the title, such as a status. */
  mark?: ComponentChildren;
  subtitle?: ComponentChildren;
  actions?: ComponentChildren;
  /** The pages above this one. */
  parents?: Crumb[];
  wide?: boolean;
  children: ComponentChildren;
}

export function Page({ title, mark, subtitle, actions, parents = [], wide = false, children }: PageProps) {
  const path = JSON.stringify([parents, title]);
  useEffect(() => {
    document.title = `${[title, ...parents.map(({ name }) => name).reverse()].join(" · ")} · Headrace`;
    breadcrumbs.value = [...parents, { name: title }];
  }, [path]);
  return (
    <div class={wide ? "page wide" : "page"}>
      <header class="page-header">
        <div class="page-title">
          {mark}
          <h1>{title}</h1>
          {subtitle && <div class="subtitle">{subtitle}</div>}
        </div>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </div>
  );
}

/** A titled box of a page. */
export function Section({
  title,
  aside,
  children,
}: {
  title: string;
  aside?: ComponentChildren;
  children: ComponentChildren;
}) {
  return (
    <section class="section">
      <header class="section-header">
        <h2>{title}</h2>
        {aside}
      </header>
      {children}
    </section>
  );
}
