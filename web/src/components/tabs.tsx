/** Tabs that are links: the URL says which one is selected. */
export interface Tab {
  name: string;
  href: string;
  count?: number | undefined;
}

export function Tabs({ tabs, selected, label }: { tabs: Tab[]; selected: string; label: string }) {
  return (
    <nav class="tabs" aria-label={label}>
      {tabs.map(({ name, href, count }) => (
        <a key={name} href={href} aria-current={name === selected ? "page" : undefined}>
          {name}
          {count !== undefined && <span class="count">{count}</span>}
        </a>
      ))}
    </nav>
  );
}

/** A segmented control: it selects one of a few views of the same data. */
export function Segmented<T extends string>({
  label,
  options,
  value,
  onChange,
}: {
  label: string;
  options: [T, string][];
  value: T;
  onChange: (value: T) => void;
}) {
  return (
    <div class="segmented" role="group" aria-label={label}>
      {options.map(([option, text]) => (
        <button key={option} type="button" aria-pressed={option === value} onClick={() => onChange(option)}>
          {text}
        </button>
      ))}
    </div>
  );
}
