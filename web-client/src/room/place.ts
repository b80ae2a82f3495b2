/**
 * The place of this browser tab in a consult: taken from the link, kept across a refresh, and
 * never left readable in the address bar, where it would end up in a screenshot or a history.
 */
import { readFragment } from './invitation';

const KEY = 'consilium.place';

export interface Place {
  readonly token: string | null;
  readonly name: string | null;
  /** Opens the documented debug handle, see `main.tsx`. */
  readonly debug: boolean;
}

/** Takes the link out of the address bar, or finds what an earlier visit in this tab has kept. */
export function takePlace(): Place {
  const fragment = readFragment(location.hash);
  if (!fragment.token) return kept() ?? fragment;
  history.replaceState(null, '', location.pathname + location.search);
  try {
    sessionStorage.setItem(KEY, JSON.stringify(fragment));
  } catch {
    // Storage is refused in some private windows: then only a refresh loses the place.
  }
  return fragment;
}

function kept(): Place | null {
  try {
    const place = JSON.parse(sessionStorage.getItem(KEY) ?? 'null') as Place | null;
    return place && typeof place.token === 'string' ? place : null;
  } catch {
    return null;
  }
}
