/** From events to stretches on the timeline: who spoke, what was muted. Pure. */
import type { Lane, Person } from '../../archive/lanes';
import type { Told } from '../../archive/protocol';

export interface Span {
  readonly from: number;
  readonly until: number;
}

/** When a person spoke, by the server's account. */
export function speaking(events: readonly Told[], person: Person, duration: number): Span[] {
  const mine = events.filter(
    (event) => event.type === 'speaking' && person.participants.includes(event.participant ?? -1),
  );
  return toggled(
    mine.map((event) => [event.at_us, event.active === true]),
    duration,
  );
}

/** When a lane was muted. */
export function muted(events: readonly Told[], lane: Lane, duration: number): Span[] {
  const numbers = lane.tracks.map((track) => track.track);
  const mine = events.filter(
    (event) =>
      (event.type === 'muted' || event.type === 'unmuted') && numbers.includes(event.track ?? -1),
  );
  return toggled(
    mine.map((event) => [event.at_us, event.type === 'muted']),
    duration,
  );
}

export function isWithin(spans: readonly Span[], at: number): boolean {
  return spans.some((span) => at >= span.from && at < span.until);
}

/**
 * Events of the sealed journal and of the clear manifest tell the same twice: the fuller one stays.
 * The clear one may not say who wrote, and names no track that had no number then.
 */
export function told(before: readonly Told[], news: readonly Told[]): Told[] {
  const out = new Map<string, Told[]>();
  for (const event of [...before, ...news]) {
    const key = `${event.type} ${Math.round(event.at_us / 1000)}`;
    const alike = out.get(key) ?? [];
    const at = alike.findIndex(
      (one) =>
        isCompatible(one.participant, event.participant) && isCompatible(one.track, event.track),
    );
    const known = alike[at];
    if (!known) out.set(key, [...alike, event]);
    else if (Object.keys(event).length > Object.keys(known).length) alike[at] = event;
  }
  return [...out.values()].flat().sort((a, b) => a.at_us - b.at_us);
}

function isCompatible(one: number | undefined, other: number | undefined): boolean {
  return !one || !other || one === other;
}

function toggled(changes: ReadonlyArray<readonly [number, boolean]>, duration: number): Span[] {
  const out: Span[] = [];
  let since: number | null = null;
  for (const [at, isOn] of [...changes].sort((a, b) => a[0] - b[0])) {
    if (isOn && since === null) since = at;
    if (!isOn && since !== null) {
      out.push({ from: since, until: at });
      since = null;
    }
  }
  if (since !== null) out.push({ from: since, until: duration });
  return out;
}
