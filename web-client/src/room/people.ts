/** Who is here, as plain values for the pages: read from the SDK's participants, never written. */
import { ConnectionQuality, type Participant, Track, type TrackPublication } from 'livekit-client';
import { roleOf } from './invitation';
import type { Seat, Source } from './stage';

export type Microphone = 'on' | 'muted' | 'none';
export type Link = 'good' | 'fair' | 'poor' | 'lost' | 'unknown';

export interface Person {
  readonly identity: string;
  readonly name: string;
  readonly role: string;
  readonly isLocal: boolean;
  readonly isSpeaking: boolean;
  readonly microphone: Microphone;
  readonly hasCamera: boolean;
  readonly hasScreen: boolean;
  readonly link: Link;
}

/** A seat together with what its tile draws. */
export interface PersonSeat extends Seat {
  readonly person: Person;
  readonly publication: TrackPublication | null;
}

const LINKS: Record<ConnectionQuality, Link> = {
  [ConnectionQuality.Excellent]: 'good',
  [ConnectionQuality.Good]: 'fair',
  [ConnectionQuality.Poor]: 'poor',
  [ConnectionQuality.Lost]: 'lost',
  [ConnectionQuality.Unknown]: 'unknown',
};

export function personOf(participant: Participant): Person {
  const microphone = participant.getTrackPublication(Track.Source.Microphone);
  return {
    identity: participant.identity,
    name: participant.name || participant.identity,
    role: roleOf(participant.attributes, participant.metadata),
    isLocal: participant.isLocal,
    isSpeaking: participant.isSpeaking,
    microphone: !microphone ? 'none' : microphone.isMuted ? 'muted' : 'on',
    hasCamera: isLive(participant.getTrackPublication(Track.Source.Camera)),
    hasScreen: isLive(participant.getTrackPublication(Track.Source.ScreenShare)),
    link: LINKS[participant.connectionQuality],
  };
}

/** The tiles that a participant could fill: always the camera's, and the screen's while shared. */
export function seatsOf(participant: Participant, spokeAt: number): PersonSeat[] {
  const person = personOf(participant);
  const seat = (source: Source, publication: TrackPublication | undefined): PersonSeat => ({
    key: `${participant.identity}/${source}`,
    source,
    isLocal: participant.isLocal,
    isSpeaking: source === 'camera' && participant.isSpeaking,
    spokeAt,
    since: participant.joinedAt?.getTime() ?? 0,
    person,
    publication: publication ?? null,
  });
  const screen = participant.getTrackPublication(Track.Source.ScreenShare);
  const camera = seat('camera', participant.getTrackPublication(Track.Source.Camera));
  return isLive(screen) ? [seat('screen', screen), camera] : [camera];
}

function isLive(publication: TrackPublication | undefined): boolean {
  return publication !== undefined && !publication.isMuted;
}
