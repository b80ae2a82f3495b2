/**
 * WebM as a MediaSource and every player takes it (RFC 9559): a head with one track, then clusters
 * of known size. Times are milliseconds since the recording's start.
 */
import { concat, text } from './bytes';

const EBML = 0x1a45dfa3;
const SEGMENT = 0x18538067;
const INFO = 0x1549a966;
const TRACKS = 0x1654ae6b;
const TRACK = 0xae;
const CLUSTER = 0x1f43b675;
const MUXER = text('Consilium');

export interface WebmTrack {
  readonly codec: string;
  readonly kind: 'audio' | 'video';
  readonly width?: number;
  readonly height?: number;
  readonly channels?: number;
  readonly setup?: Uint8Array;
}

export interface Sample {
  /** Microseconds. */
  readonly at: number;
  readonly duration: number;
  readonly isKey: boolean;
  readonly bytes: Uint8Array;
}

/** The head; `duration` in microseconds where it is known. */
export function webmHead(track: WebmTrack, duration?: number): Uint8Array {
  const head = element(
    EBML,
    number(0x4286, 1),
    number(0x42f7, 1),
    number(0x42f2, 4),
    number(0x42f3, 8),
    element(0x4282, text('webm')),
    number(0x4287, 4),
    number(0x4285, 2),
  );
  const info = element(
    INFO,
    number(0x2ad7b1, 1_000_000),
    element(0x4d80, MUXER),
    element(0x5741, MUXER),
    ...(duration === undefined ? [] : [float(0x4489, duration / 1000)]),
  );
  // A segment of unknown size: it goes on until the stream ends.
  const segment = concat(idBytes(SEGMENT), Uint8Array.of(0x01, ...Array(7).fill(0xff)));
  return concat(head, segment, info, element(TRACKS, trackEntry(track)));
}

/** Where a cluster with times beyond 16 bits of milliseconds must end. */
export const CLUSTER_US_MAX = 30_000_000;

/** One cluster; its samples may span at most `CLUSTER_US_MAX`. */
export function webmCluster(samples: readonly Sample[]): Uint8Array {
  const base = Math.round(Math.min(...samples.map((sample) => sample.at)) / 1000);
  const blocks = samples.map((sample) => {
    const relative = Math.round(sample.at / 1000) - base;
    const head = Uint8Array.of(0x81, (relative >> 8) & 0xff, relative & 0xff, 0);
    // A group without a reference is a keyframe; what a reference says is not looked at.
    return element(
      0xa0,
      element(0xa1, head, sample.bytes),
      number(0x9b, Math.max(1, milliseconds(sample))),
      ...(sample.isKey ? [] : [element(0xfb, Uint8Array.of(0xff))]),
    );
  });
  return element(CLUSTER, number(0xe7, base), ...blocks);
}

/** From rounded time to rounded time, so that rounding leaves no hole. */
function milliseconds(sample: Sample): number {
  return Math.round((sample.at + sample.duration) / 1000) - Math.round(sample.at / 1000);
}

function trackEntry(track: WebmTrack): Uint8Array {
  const common = [
    number(0xd7, 1),
    number(0x73c5, 1),
    number(0x83, track.kind === 'video' ? 1 : 2),
    number(0x9c, 0),
    element(0x86, text(track.codec)),
  ];
  if (track.kind === 'video') {
    const size = [number(0xb0, track.width || 640), number(0xba, track.height || 360)];
    const setup = track.setup ? [element(0x63a2, track.setup)] : [];
    return element(TRACK, ...common, ...setup, element(0xe0, ...size));
  }
  const channels = track.channels === 2 ? 2 : 1;
  return element(
    TRACK,
    ...common,
    // 80 ms before a seek, as the mapping of Opus asks for.
    number(0x56bb, 80_000_000),
    element(0x63a2, opusHead(channels)),
    element(0xe1, float(0xb5, 48_000), number(0x9f, channels)),
  );
}

/** RFC 7845, 5.1, without pre-skip: a conversation is cut out of its middle. */
function opusHead(channels: number): Uint8Array {
  return concat(text('OpusHead'), Uint8Array.of(1, channels, 0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0));
}

function element(id: number, ...content: readonly Uint8Array[]): Uint8Array {
  const size = content.reduce((sum, part) => sum + part.length, 0);
  return concat(idBytes(id), sizeBytes(size), ...content);
}

function number(id: number, value: number): Uint8Array {
  const bytes: number[] = [];
  for (let left = value; left > 0; left = Math.floor(left / 256)) bytes.unshift(left % 256);
  return element(id, Uint8Array.from(bytes.length > 0 ? bytes : [0]));
}

function float(id: number, value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value);
  return element(id, bytes);
}

function idBytes(id: number): Uint8Array {
  const bytes: number[] = [];
  for (let left = id; left > 0; left = Math.floor(left / 256)) bytes.unshift(left % 256);
  return Uint8Array.from(bytes);
}

/** Always eight bytes wide where more than one is needed: simple, and nothing is that small. */
function sizeBytes(size: number): Uint8Array {
  if (size < 127) return Uint8Array.of(0x80 | size);
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(size));
  bytes[0] = 0x01;
  return bytes;
}
