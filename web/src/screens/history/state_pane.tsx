import { useEffect, useState } from "preact/hooks";
import { loadState, type State } from "../../api/history.ts";
import { useResource } from "../../api/resource.ts";
import { Empty, Loaded } from "../../components/states.tsx";
import { Segmented } from "../../components/tabs.tsx";
import { location, setQuery } from "../../router/location.ts";
import { type Difference, diffStates, flatten, formatValue, isBlank, type Row } from "./state_diff.ts";

const DEBOUNCE_MS = 80;

interface Props {
  kind: string;
  id: string;
  version: number;
  latest: number;
}

interface States {
  state: State;
  before: State | null;
  other: State;
}

/** The state at a version, in which changed fields are marked, or its comparison with another version. */
export function StatePane({ kind, id, version, latest }: Props) {
  const { query } = location.value;
  const view = query.get("view") === "compare" ? "compare" : "state";
  const other = Math.min(latest, Math.max(1, Number(query.get("with")) || latest));
  const settled = useDebounced(version);
  const key = JSON.stringify([kind, id, settled, other]);
  const states = useResource(key, async (): Promise<States> => {
    const versions = [settled, settled - 1, other].map((each) => (each < 1 ? null : loadState(kind, id, each)));
    const [state, before, compared] = await Promise.all(versions);
    return { state: state as State, before: before ?? null, other: compared as State };
  });
  useEffect(() => {
    for (const neighbor of [settled - 2, settled + 1])
      if (neighbor >= 1 && neighbor <= latest) loadState(kind, id, neighbor).catch(() => {});
  }, [settled]);
  return (
    <section class="state-pane" aria-label={`State at version ${version}`}>
      <div class="state-tools">
        <Segmented
          label="Show"
          options={[
            ["state", "State"],
            ["compare", "Compare"],
          ]}
          value={view}
          onChange={(value) => setQuery({ view: value === "state" ? null : value })}
        />
        {view === "compare" && <OtherVersion other={other} latest={latest} />}
      </div>
      <Loaded resource={states} rows={8}>
        {({ state, before, other: compared }) =>
          view === "compare" ? (
            <Comparison state={state} other={compared} />
          ) : (
            <Fields state={fieldsOf(state)} changes={diffStates(fieldsOf(before), fieldsOf(state))} />
          )
        }
      </Loaded>
    </section>
  );
}

function fieldsOf(state: State | null): Row | null {
  return state?.state ? flatten(state.state) : null;
}

function useDebounced(value: number): number {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), DEBOUNCE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

function OtherVersion({ other, latest }: { other: number; latest: number }) {
  return (
    <label class="other-version">
      with version
      <input
        type="number"
        min={1}
        max={latest}
        value={other}
        onChange={({ currentTarget }) => {
          const chosen = Number(currentTarget.value);
          setQuery({ with: chosen >= 1 && chosen < latest ? chosen : null });
        }}
      />
      <span class="muted">{other === latest ? "(now)" : `of ${latest}`}</span>
    </label>
  );
}

function Fields({ state, changes }: { state: Row | null; changes: Difference[] }) {
  if (state === null)
    return (
      <Empty icon="history" title="Deleted">
        <p>The object was deleted in this version. Choose an earlier version to see its state.</p>
      </Empty>
    );
  const changed = new Map(changes.map((difference) => [difference.field, difference]));
  const isFirst = changes.length === Object.keys(state).length;
  return (
    <table class="state-table">
      <caption class="visually-hidden">State</caption>
      <colgroup>
        <col class="field-name" />
        <col />
      </colgroup>
      <tbody>
        {Object.entries(state).map(([field, value]) => {
          const difference = isFirst ? undefined : changed.get(field);
          return (
            <tr key={field} class={difference ? "changed" : ""}>
              <th scope="row">{field}</th>
              <td class={isBlank(value) ? "muted" : ""}>
                <span class="value">{formatValue(value)}</span>
                {difference && (
                  <span class="was">
                    <span class="change-mark">changed here</span> was <s>{formatValue(difference.before)}</s>
                  </span>
                )}
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function Comparison({ state, other }: { state: State; other: State }) {
  const [older, newer] = state.version <= other.version ? [state, other] : [other, state];
  const differences = diffStates(fieldsOf(older), fieldsOf(newer));
  if (differences.length === 0)
    return (
      <Empty icon="history" title="No difference">
        <p>
          {older.version === newer.version
            ? "Choose an earlier version on the axis or in the list to compare it with now."
            : `Versions ${older.version} and ${newer.version} have the same fields. The changes between them do not affect the state, or changed a secret value, which is never shown.`}
        </p>
      </Empty>
    );
  return (
    <table class="state-table compared">
      <caption class="visually-hidden">Differences</caption>
      <thead>
        <tr>
          <th scope="col">Field</th>
          <th scope="col">Version {older.version}</th>
          <th scope="col">Version {newer.version}</th>
        </tr>
      </thead>
      <tbody>
        {differences.map(({ field, before, after }) => (
          <tr key={field}>
            <th scope="row">{field}</th>
            <td class="removed">
              <span class="visually-hidden">before: </span>
              {formatValue(before)}
            </td>
            <td class="added">
              <span class="visually-hidden">after: </span>
              {formatValue(after)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
