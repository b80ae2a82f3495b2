/** VP9 (RFC 9628): the spatial layers of a picture make one frame together. */
import { concat } from '../bytes';
import type { Ordered } from '../order';
import { type Frame, stamp, VideoDepacketizer } from './frame';

interface Descriptor {
  readonly length: number;
  /** First packet of a layer's frame. */
  readonly isStart: boolean;
  readonly isInter: boolean;
  readonly layer: number;
  readonly picture: { readonly number: number; readonly range: number } | null;
  readonly size: { readonly width: number; readonly height: number } | null;
}

export class Vp9Depacketizer extends VideoDepacketizer {
  protected override begins(one: Ordered): boolean {
    const head = descriptor(one.packet.payload);
    return head?.isStart === true && head.layer === 0;
  }

  protected override picture(one: Ordered) {
    return descriptor(one.packet.payload)?.picture ?? null;
  }

  protected override frame(parts: readonly Ordered[]): Frame | null {
    const pieces: Uint8Array[] = [];
    let size: Descriptor['size'] = null;
    let isKey = false;
    for (const [i, { packet }] of parts.entries()) {
      const head = descriptor(packet.payload);
      if (!head) return null;
      if (i === 0) isKey = !head.isInter;
      size ??= head.size;
      pieces.push(packet.payload.subarray(head.length));
    }
    const bytes = concat(...pieces);
    if (bytes.length === 0) return null;
    return { ...stamp(parts), isKey, bytes, ...(size ? { size } : {}) };
  }
}

function descriptor(payload: Uint8Array): Descriptor | null {
  const first = payload[0];
  if (first === undefined) return null;
  const [hasPicture, isInter, hasLayers, isFlexible, isStart, , hasStructure] = bits(first);
  let at = 1;
  let picture: Descriptor['picture'] = null;
  if (hasPicture) {
    const high = payload[at] ?? 0;
    if (high & 0x80) {
      picture = { number: ((high & 0x7f) << 8) | (payload[at + 1] ?? 0), range: 1 << 15 };
      at += 2;
    } else {
      picture = { number: high, range: 1 << 7 };
      at += 1;
    }
  }
  let layer = 0;
  if (hasLayers) {
    layer = ((payload[at] ?? 0) >> 1) & 7;
    at += isFlexible ? 1 : 2;
  }
  if (isFlexible && isInter) {
    // Up to three references, each saying whether another follows.
    for (let i = 0; i < 3; i++) {
      const reference = payload[at] ?? 0;
      at += 1;
      if ((reference & 1) === 0) break;
    }
  }
  let size: Descriptor['size'] = null;
  if (hasStructure) {
    const structure = payload[at] ?? 0;
    at += 1;
    if (structure & 0x10) {
      for (let i = 0; i <= structure >> 5; i++) {
        const width = ((payload[at] ?? 0) << 8) | (payload[at + 1] ?? 0);
        const height = ((payload[at + 2] ?? 0) << 8) | (payload[at + 3] ?? 0);
        size = { width, height };
        at += 4;
      }
    }
    if (structure & 0x08) {
      const pictures = payload[at] ?? 0;
      at += 1;
      for (let i = 0; i < pictures; i++) at += 1 + (((payload[at] ?? 0) >> 2) & 3);
    }
  }
  if (at >= payload.length) return null;
  return { length: at, isStart: isStart ?? false, isInter: isInter ?? false, layer, picture, size };
}

/** From the highest bit down. */
function bits(byte: number): boolean[] {
  return [7, 6, 5, 4, 3, 2, 1, 0].map((bit) => ((byte >> bit) & 1) === 1);
}
