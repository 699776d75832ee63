/** Tables whose rows are selected with `j` and `k`, and are shown as cards on narrow screens. */
import type { ComponentChildren } from "preact";

export interface Column<Row> {
  name: string;
  /** `number` aligns right, `wide` takes the free width, `narrow` never wraps, `actions` hides the name. */
  kind?: "number" | "wide" | "narrow" | "actions";
  cell: (row: Row) => ComponentChildren;
}

interface TableProps<Row> {
  caption: string;
  columns: Column<Row>[];
  rows: Row[];
  rowKey: (row: Row) => string | number;
}

export function Table<Row>({ caption, columns, rows, rowKey }: TableProps<Row>) {
  return (
    <div class="table-frame">
      <table class="table">
        <caption class="visually-hidden">{caption}</caption>
        <thead>
          <tr>
            {columns.map(({ name, kind }) => (
              <th key={name} scope="col" class={kind}>
                {kind === "actions" ? <span class="visually-hidden">{name}</span> : name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={rowKey(row)} data-row>
              {columns.map(({ name, kind, cell }) => (
                <td key={name} class={kind} data-name={kind === "actions" ? "" : name}>
                  {cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
