/**
 * Who is shown and heard when: the tracks of a recording put into lanes, one per person and kind of
 * medium. A person who left and came back, or turned a camera off and on, keeps the lane.
 */

import { codecOf } from './depacketize';
import type { Names, ParticipantEntry, TrackEntry } from './documents';

export interface Person {
  /** The number of the first time the person joined. */
  readonly id: number;
  readonly participants: readonly number[];
  /** Null while the officers' index is not open. */
  readonly name: string | null;
  readonly identity: string | null;
  readonly presence: ReadonlyArray<{ readonly from: number; readonly until: number }>;
}

export type Medium = 'camera' | 'microphone' | 'screen' | 'screen-sound' | 'other';

export interface Lane {
  readonly id: number;
  readonly person: number;
  readonly kind: 'audio' | 'video';
  readonly medium: Medium;
  readonly tracks: readonly TrackEntry[];
  readonly playable: 'yes' | 'unknown-codec' | 'encrypted';
}

export function people(
  participants: readonly ParticipantEntry[],
  names: Names | null,
  duration: number,
): Person[] {
  const found = new Map<string, Person>();
  for (const entry of participants) {
    const known = names?.participants.find((one) => one.participant === entry.participant);
    const key = known ? `identity ${known.identity}` : `number ${entry.participant}`;
    const before = found.get(key);
    const until = entry.left_us && entry.left_us > entry.joined_us ? entry.left_us : duration;
    found.set(key, {
      id: before?.id ?? entry.participant,
      participants: [...(before?.participants ?? []), entry.participant],
      name: known?.name || known?.identity || null,
      identity: known?.identity ?? null,
      presence: [...(before?.presence ?? []), { from: entry.joined_us, until }],
    });
  }
  return [...found.values()];
}

/** Tracks of one person and medium share a lane unless they run at the same time. */
export function lanes(tracks: readonly TrackEntry[], people: readonly Person[]): Lane[] {
  const out: Array<Lane & { tracks: TrackEntry[] }> = [];
  for (const track of [...tracks].sort((a, b) => a.from_us - b.from_us)) {
    const person = people.find((one) => one.participants.includes(track.participant));
    if (!person) continue;
    const medium = mediumOf(track);
    const playable = playableOf(track);
    const lane = out.find(
      (one) =>
        one.person === person.id &&
        one.medium === medium &&
        one.kind === track.kind &&
        one.playable === playable &&
        (one.tracks.at(-1)?.until_us ?? 0) <= track.from_us + OVERLAP_US,
    );
    if (lane) lane.tracks.push(track);
    else {
      out.push({
        id: out.length,
        person: person.id,
        kind: track.kind,
        medium,
        tracks: [track],
        playable,
      });
    }
  }
  return out;
}

/** A track is replaced by the next one before its end was noticed. */
const OVERLAP_US = 500_000;

function mediumOf(track: TrackEntry): Medium {
  switch (track.source) {
    case 'camera':
      return 'camera';
    case 'microphone':
      return 'microphone';
    case 'screen_share':
      return 'screen';
    case 'screen_share_audio':
      return 'screen-sound';
    default:
      return 'other';
  }
}

function playableOf(track: TrackEntry): Lane['playable'] {
  if (track.encrypted) return 'encrypted';
  return codecOf(track.mime) ? 'yes' : 'unknown-codec';
}

/** The track of a lane that is there at a time. */
export function trackAt(lane: Lane, at: number): TrackEntry | null {
  return lane.tracks.find((track) => at >= track.from_us && at < track.until_us) ?? null;
}
