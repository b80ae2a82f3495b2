/**
 * Who came in: the token of the link's fragment, taken out of the address bar at once. It is kept for
 * this tab's refreshes; the officer's key is not. What is open is the only thing the address says.
 */

const KEY = 'consilium.compliance';

export interface Visit {
  readonly token: string;
  /** For display only; the server checks the signature. */
  readonly officer: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number | null;
}

/** Takes the link out of the address bar, or finds what an earlier visit in this tab has kept. */
export function takeVisit(): Visit | null {
  const token = new URLSearchParams(location.hash.replace(/^#/, '')).get('token');
  if (token) history.replaceState(null, '', location.pathname + location.search);
  const kept = token ?? stored();
  const visit = kept ? readVisit(kept) : null;
  if (visit && token) keep(token);
  return visit;
}

export function leave(): void {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // Nothing was kept either.
  }
  location.reload();
}

/** Null for what is no token of the compliance staff. */
export function readVisit(token: string): Visit | null {
  try {
    const middle = token.split('.')[1] ?? '';
    const bytes = Uint8Array.from(atob(middle.replace(/-/g, '+').replace(/_/g, '/')), (letter) =>
      letter.charCodeAt(0),
    );
    const claims = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (claims?.consilium?.role !== 'compliance' || typeof claims.sub !== 'string') return null;
    const expiresAt = typeof claims.exp === 'number' ? claims.exp * 1000 : null;
    return { token, officer: claims.sub, expiresAt };
  } catch {
    return null;
  }
}

/** The recording that the address names, and where in it, in seconds. */
export function readPlace(hash: string): { recording: string | null; at: number | null } {
  const values = new URLSearchParams(hash.replace(/^#/, ''));
  const recording = values.get('recording');
  const at = Number(values.get('t') ?? Number.NaN);
  return {
    recording: recording && /^[0-9A-Z]{26}$/.test(recording) ? recording : null,
    at: Number.isFinite(at) && at >= 0 ? at : null,
  };
}

function keep(token: string): void {
  try {
    sessionStorage.setItem(KEY, token);
  } catch {
    // Storage is refused in some private windows: then a refresh needs the link again.
  }
}

function stored(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}
