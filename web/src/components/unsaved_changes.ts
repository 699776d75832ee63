/** The changes of a form that are not saved yet. A change that a user makes during a save is kept. */
import { useState } from "preact/hooks";

export interface UnsavedChanges<T> {
  changes: Partial<T>;
  change: (changed: Partial<T>) => void;
  /** Forget changes that were saved. */
  forget: (saved: Partial<T>) => void;
}

export function useUnsavedChanges<T extends object>(): UnsavedChanges<T> {
  const [changes, setChanges] = useState<Partial<T>>({});
  return {
    changes,
    change: (changed) => setChanges((current) => ({ ...current, ...changed })),
    forget: (saved) => setChanges((current) => withoutSaved(current, saved)),
  };
}

/** Return the changes of fields that have another value than the saved one, or were not saved. */
export function withoutSaved<T extends object>(changes: Partial<T>, saved: Partial<T>): Partial<T> {
  const isUnsaved = ([name, value]: [string, unknown]) =>
    !(name in saved) || JSON.stringify(value) !== JSON.stringify(saved[name as keyof T]);
  return Object.fromEntries(Object.entries(changes).filter(isUnsaved)) as Partial<T>;
}
