/** VP8 (RFC 7741). */
import { concat } from '../bytes';
import type { Ordered } from '../order';
import { type Frame, stamp, VideoDepacketizer } from './frame';

interface Descriptor {
  readonly length: number;
  readonly isStart: boolean;
  readonly picture: { readonly number: number; readonly range: number } | null;
}

export class Vp8Depacketizer extends VideoDepacketizer {
  protected override begins(one: Ordered): boolean {
    return descriptor(one.packet.payload)?.isStart ?? false;
  }

  protected override picture(one: Ordered) {
    return descriptor(one.packet.payload)?.picture ?? null;
  }

  protected override frame(parts: readonly Ordered[]): Frame | null {
    const pieces: Uint8Array[] = [];
    for (const { packet } of parts) {
      const head = descriptor(packet.payload);
      if (!head) return null;
      pieces.push(packet.payload.subarray(head.length));
    }
    const bytes = concat(...pieces);
    if (bytes.length < 3) return null;
    const isKey = ((bytes[0] ?? 1) & 1) === 0;
    if (!isKey) return { ...stamp(parts), isKey, bytes };
    const hasStartCode = bytes[3] === 0x9d && bytes[4] === 0x01 && bytes[5] === 0x2a;
    if (bytes.length < 10 || !hasStartCode) return null;
    const width = ((bytes[6] ?? 0) | ((bytes[7] ?? 0) << 8)) & 0x3fff;
    const height = ((bytes[8] ?? 0) | ((bytes[9] ?? 0) << 8)) & 0x3fff;
    return { ...stamp(parts), isKey, bytes, size: { width, height } };
  }
}

function descriptor(payload: Uint8Array): Descriptor | null {
  const first = payload[0];
  if (first === undefined) return null;
  const isStart = (first & 0x17) === 0x10;
  let length = 1;
  let picture: Descriptor['picture'] = null;
  if (first & 0x80) {
    const extended = payload[1];
    if (extended === undefined) return null;
    length = 2;
    if (extended & 0x80) {
      const high = payload[length] ?? 0;
      if (high & 0x80) {
        picture = { number: ((high & 0x7f) << 8) | (payload[length + 1] ?? 0), range: 1 << 15 };
        length += 2;
      } else {
        picture = { number: high, range: 1 << 7 };
        length += 1;
      }
    }
    if (extended & 0x40) length += 1;
    if (extended & 0x30) length += 1;
  }
  return length < payload.length ? { length, isStart, picture } : null;
}
