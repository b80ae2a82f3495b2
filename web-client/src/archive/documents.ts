/** The JSON files of a recording, as far as the reader needs them. Unknown members are ignored. */
import { fromText } from './bytes';

export interface Header {
  readonly version: 1;
  readonly recording: string;
  readonly node: string;
  readonly recipient: string;
  readonly room_sid: string;
  readonly policy: string;
  readonly started: string;
  readonly retention: { readonly class: string; readonly until: string };
  readonly compliance: { readonly threshold: number; readonly recipients: readonly string[] };
  readonly break_glass: string | null;
}

export interface Writer {
  readonly version: 1;
  readonly recording: string;
  readonly writer: number;
  readonly key: string;
  readonly first_segment: number;
  readonly prev: string;
}

export interface TrackEntry {
  readonly track: number;
  readonly participant: number;
  readonly kind: 'audio' | 'video';
  readonly source: string;
  readonly mime: string;
  readonly clock_rate: number;
  /** Packets of this type are RED (RFC 2198) around the format. */
  readonly red_payload_type?: number;
  readonly from_us: number;
  readonly until_us: number;
  readonly expected?: number;
  readonly stored?: number;
  readonly lost?: number;
  readonly channels?: number;
  readonly width?: number;
  readonly height?: number;
  readonly encrypted?: boolean;
}

export interface ParticipantEntry {
  readonly participant: number;
  readonly joined_us: number;
  readonly left_us: number | null;
  readonly consent?: ReadonlyArray<{ readonly state: string; readonly at_us: number }>;
}

export interface GapEntry {
  readonly from_us: number;
  readonly until_us: number;
  readonly reason: string;
  readonly packets?: { readonly [track: string]: number };
}

export interface EventEntry {
  readonly type: string;
  readonly at_us: number;
  readonly participant?: number;
  readonly track?: number;
  readonly [more: string]: unknown;
}

export interface SegmentEntry {
  readonly segment: number;
  readonly bytes: number;
  readonly chunks: number;
  readonly t0_us: number;
  readonly duration_us: number;
  readonly chain: string;
  readonly sealed: 'closed' | 'salvaged';
}

export interface Manifest {
  readonly version: 1;
  readonly recording: string;
  readonly state: 'complete' | 'incomplete';
  readonly reason?: string;
  readonly duration_us: number;
  readonly header: string;
  readonly index?: string;
  /** By file name. */
  readonly shares?: { readonly [name: string]: string };
  readonly writers: ReadonlyArray<{ readonly writer: number; readonly sha256: string }>;
  readonly segments: readonly SegmentEntry[];
  readonly participants: readonly ParticipantEntry[];
  readonly tracks: readonly TrackEntry[];
  readonly gaps: readonly GapEntry[];
  readonly events: readonly EventEntry[];
  readonly shreddable: boolean;
}

/** The plaintext of `index.age`. */
export interface Names {
  readonly version: 1;
  readonly recording: string;
  readonly room: string;
  readonly participants: ReadonlyArray<{
    readonly participant: number;
    readonly identity: string;
    readonly name: string;
  }>;
  readonly tracks?: ReadonlyArray<{
    readonly track: number;
    readonly participant: number;
    readonly name: string;
    readonly source: string;
  }>;
}

/** The clear events; what was said about being recorded stands beside the participants there. */
export function eventsOf(document: Partial<Manifest> | null): readonly EventEntry[] {
  return (document?.events ?? []).map((event) => {
    if (event.type !== 'consent' || event.state !== undefined) return event;
    const said = document?.participants
      ?.find((one) => one.participant === event.participant)
      ?.consent?.find((one) => one.at_us === event.at_us);
    return said ? { ...event, state: said.state } : event;
  });
}

/** A document of a version that we know, of this recording. */
export function readDocument<Document extends { readonly recording: string }>(
  file: Uint8Array,
  recording: string,
): Document {
  const document = JSON.parse(fromText(file)) as Document & { readonly version?: unknown };
  if (typeof document !== 'object' || document === null || document.version !== 1) {
    throw new Error('a document of an unknown version');
  }
  if (document.recording !== recording) throw new Error('a document of another recording');
  return document;
}
