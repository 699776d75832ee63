interface Props {
  name: string;
  values: number[];
  format: (value: number) => string;
}

const WIDTH = 120;
const HEIGHT = 28;

/** A sparkline of a number in the last minutes, with its current value. */
export function Sparkline({ name, values, format }: Props) {
  const highest = Math.max(1, ...values);
  const step = WIDTH / Math.max(1, values.length - 1);
  const points = values.map(
    (value, i) => `${(i * step).toFixed(1)},${(HEIGHT - 2 - (value / highest) * (HEIGHT - 4)).toFixed(1)}`,
  );
  return (
    <li class="tile sparkline">
      <span class="tile-number">{format(values.at(-1) ?? 0)}</span>
      <span class="tile-name">{name}</span>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true" focusable="false">
        <polyline points={points.join(" ")} />
      </svg>
    </li>
  );
}
