import { signal } from "@preact/signals";

export interface Crumb {
  name: string;
  href?: string;
}

/** The path to the current screen, set by its `Page`. */
export const breadcrumbs = signal<Crumb[]>([]);

export function Breadcrumbs() {
  return (
    <nav class="breadcrumbs" aria-label="Breadcrumb">
      <ol>
        {breadcrumbs.value.map(({ name, href }, index, all) => (
          <li key={index} aria-current={index === all.length - 1 ? "page" : undefined}>
            {href ? <a href={href}>{name}</a> : <span>{name}</span>}
          </li>
        ))}
      </ol>
    </nav>
  );
}
