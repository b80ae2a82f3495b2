/** One RTP packet as the journal holds it (RFC 3550), and numbers that wrap made whole. */
import { view } from './bytes';

export interface RtpPacket {
  readonly payloadType: number;
  readonly isMarked: boolean;
  readonly sequence: number;
  readonly timestamp: number;
  readonly ssrc: number;
  readonly payload: Uint8Array;
}

/** The packet, or null when the bytes are none. */
export function readRtp(bytes: Uint8Array): RtpPacket | null {
  if (bytes.length < 12) return null;
  const head = view(bytes);
  const first = head.getUint8(0);
  if (first >> 6 !== 2) return null;
  let at = 12 + (first & 0x0f) * 4;
  if (first & 0x10) {
    if (at + 4 > bytes.length) return null;
    at += 4 + head.getUint16(at + 2) * 4;
  }
  if (at > bytes.length) return null;
  const second = head.getUint8(1);
  return {
    payloadType: second & 0x7f,
    isMarked: (second & 0x80) !== 0,
    sequence: head.getUint16(2),
    timestamp: head.getUint32(4),
    ssrc: head.getUint32(8),
    payload: bytes.subarray(at),
  };
}

/** The source of a packet, or null when the bytes are none. */
export function sourceOf(bytes: Uint8Array): number | null {
  return bytes.length < 12 ? null : view(bytes).getUint32(8);
}

/** Makes numbers of `bits` bits that wrap into numbers that do not. */
export class Unwrapper {
  private last: number | null = null;
  private readonly range: number;

  constructor(bits: 16 | 32) {
    this.range = 2 ** bits;
  }

  /** Nearest to the last one: half the range forwards or backwards. */
  unwrap(value: number): number {
    if (this.last === null) {
      // Room below, for packets that come late at the very beginning.
      this.last = this.range + value;
      return this.last;
    }
    const lastLow = this.last % this.range;
    let step = value - lastLow;
    if (step > this.range / 2) step -= this.range;
    if (step < -this.range / 2) step += this.range;
    const whole = this.last + step;
    if (step > 0) this.last = whole;
    return whole;
  }

  /** What `unwrap` would say, without moving on. */
  peek(value: number): number {
    const last = this.last;
    const whole = this.unwrap(value);
    this.last = last ?? this.last;
    return whole;
  }
}
