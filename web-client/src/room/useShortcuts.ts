import { useEffect, useRef } from 'react';

type Actions = Readonly<Record<string, (() => void) | undefined>>;

/** Single letters as shortcuts, wherever the focus is, except while somebody writes. */
export function useShortcuts(isEnabled: boolean, actions: Actions): void {
  const latest = useRef(actions);
  latest.current = actions;
  useEffect(() => {
    if (!isEnabled) return;
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing)
        return;
      const target = event.target instanceof Element ? event.target : null;
      if (
        target?.closest('input, textarea, select, [contenteditable], [role=dialog], [role=listbox]')
      ) {
        return;
      }
      const action = latest.current[event.key.toLowerCase()];
      if (!action) return;
      event.preventDefault();
      action();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [isEnabled]);
}
