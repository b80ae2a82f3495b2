/**
 * The records inside a segment, cut out of a stream of plaintext chunks. A record may reach over
 * several chunks; after a hole the reader starts again where the writer promises a record to start.
 */
import { fromText, view } from './bytes';

export const PADDING = 0xff;
const HEAD = 12;
/** A segment has 64 MiB; a record that says it is longer is nonsense. */
const BODY_MAX = 64 << 20;

export enum Kind {
  Padding = 0,
  SegmentHead = 1,
  Rtp = 2,
  SenderReport = 3,
  Track = 4,
  TrackEnd = 5,
  Event = 6,
  Gap = 7,
  SegmentEnd = 8,
}

export interface RtpFlags {
  readonly isRecovered: boolean;
  readonly isEncrypted: boolean;
  readonly isKeyframe: boolean;
}

export interface Record {
  readonly kind: number;
  readonly flags: number;
  readonly track: number;
  /** Microseconds since the segment's `t0`. */
  readonly at: number;
  readonly body: Uint8Array;
}

export class Nonsense extends Error {}

export class RecordReader {
  private left = new Uint8Array(0);

  /** The records that end in this chunk. Throws `Nonsense` when the bytes cannot be records. */
  *read(chunk: Uint8Array): Generator<Record> {
    const bytes = this.left.length > 0 ? joined(this.left, chunk) : chunk;
    let at = 0;
    while (at < bytes.length) {
      if (bytes[at] === PADDING) {
        at += 1;
        continue;
      }
      if (bytes.length - at < HEAD) break;
      const head = view(bytes.subarray(at, at + HEAD));
      const length = head.getUint32(8, true);
      if (length > BODY_MAX) {
        this.left = new Uint8Array(0);
        throw new Nonsense('a record longer than a segment');
      }
      if (bytes.length - at - HEAD < length) break;
      yield {
        kind: head.getUint8(0),
        flags: head.getUint8(1),
        track: head.getUint16(2, true),
        at: head.getUint32(4, true),
        body: bytes.subarray(at + HEAD, at + HEAD + length),
      };
      at += HEAD + length;
    }
    this.left = bytes.slice(at);
  }

  /** Forgets the half record before a hole. */
  restart(): void {
    this.left = new Uint8Array(0);
  }
}

export function json(record: Record): unknown {
  try {
    return JSON.parse(fromText(record.body));
  } catch {
    throw new Nonsense('a record that should be JSON and is not');
  }
}

export interface SenderReport {
  /** Microseconds of NTP time. */
  readonly ntp: number;
  readonly rtp: number;
}

export function senderReport(record: Record): SenderReport {
  if (record.body.length < 12) throw new Nonsense('a short sender report');
  const body = view(record.body);
  const ntp = body.getBigUint64(0, true);
  // Seconds and fraction apart: the product would not fit the 53 bits of a number.
  const seconds = Number(ntp >> 32n) * 1e6;
  return {
    ntp: seconds + (Number(ntp & 0xffff_ffffn) * 1e6) / 2 ** 32,
    rtp: body.getUint32(8, true),
  };
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}
