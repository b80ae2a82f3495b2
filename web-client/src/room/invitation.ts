/**
 * What an invitation link says: the token of the URL fragment and what can be read in it.
 *
 * The payload is read for display only and never trusted: the server checks the signature. A
 * fragment is not sent to any server, so the token does not appear in access logs.
 */

export type Device = 'microphone' | 'camera' | 'screen';

export interface Invitation {
  readonly token: string;
  readonly identity: string;
  readonly name: string;
  readonly role: string;
  readonly room: string;
  /** Milliseconds since the epoch, or null when the token does not say. */
  readonly expiresAt: number | null;
  /** What may be published; nothing for those who only watch. */
  readonly publishes: readonly Device[];
  readonly canChat: boolean;
}

export type Reading =
  | { readonly kind: 'missing' }
  | { readonly kind: 'unreadable' }
  | { readonly kind: 'expired'; readonly invitation: Invitation }
  | { readonly kind: 'valid'; readonly invitation: Invitation };

/** What the fragment of a link carries: `#token=…`, optionally `&name=` and `&debug=1`. */
export interface Fragment {
  readonly token: string | null;
  readonly name: string | null;
  readonly debug: boolean;
}

export function readFragment(hash: string): Fragment {
  const values = new URLSearchParams(hash.replace(/^#/, ''));
  return {
    token: values.get('token') || null,
    name: values.get('name')?.trim() || null,
    debug: values.get('debug') === '1',
  };
}

/** Reads a token for display; `name` is used when the token carries none. */
export function readInvitation(token: string | null, name: string | null, now: number): Reading {
  if (!token) return { kind: 'missing' };
  const claims = payloadOf(token);
  if (!claims) return { kind: 'unreadable' };
  const grant = record(claims.video) ?? {};
  const identity = text(claims.sub) ?? text(claims.identity);
  const room = text(grant.room);
  if (!identity || !room) return { kind: 'unreadable' };

  const invitation: Invitation = {
    token,
    identity,
    name: text(claims.name) ?? name ?? identity,
    role: roleOf(record(claims.attributes), text(claims.metadata)),
    room,
    expiresAt: typeof claims.exp === 'number' ? claims.exp * 1000 : null,
    publishes: publishesOf(grant),
    canChat: grant.canPublishData !== false,
  };
  const isExpired = invitation.expiresAt !== null && invitation.expiresAt <= now;
  return { kind: isExpired ? 'expired' : 'valid', invitation };
}

/** The role of a participant: the attribute `role`, or `role` in JSON metadata, or nothing. */
export function roleOf(
  attributes: Readonly<Record<string, unknown>> | null | undefined,
  metadata: string | null | undefined,
): string {
  const attribute = text(attributes?.role);
  if (attribute) return attribute;
  if (!metadata) return '';
  try {
    return text(record(JSON.parse(metadata))?.role) ?? '';
  } catch {
    return '';
  }
}

/** No list of sources, or an empty one, allows all of them. */
function publishesOf(grant: Record<string, unknown>): Device[] {
  if (grant.canPublish === false) return [];
  const sources = grant.canPublishSources;
  const wanted: Array<[Device, string]> = [
    ['microphone', 'microphone'],
    ['camera', 'camera'],
    ['screen', 'screen_share'],
  ];
  return wanted
    .filter(([, source]) => !Array.isArray(sources) || !sources.length || sources.includes(source))
    .map(([device]) => device);
}

function payloadOf(token: string): Record<string, unknown> | null {
  const middle = token.split('.')[1];
  if (!middle) return null;
  try {
    const bytes = Uint8Array.from(
      atob(middle.replace(/-/g, '+').replace(/_/g, '/')),
      (letter) => letter.codePointAt(0) ?? 0,
    );
    return record(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
  } catch {
    return null;
  }
}

function record(value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : null;
}
