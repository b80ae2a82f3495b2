/** VP9 (RFC 9628): the spatial layers of a picture make one frame together. */
import { concat } from '../bytes';
import type { Ordered } from '../order';
import { type Frame, stamp, VideoDepacketizer } from './frame';
import { superframe } from './superframe';
import { Slots } from './vp9-header';

interface Descriptor {
  readonly length: number;
  /** First packet of a layer's frame. */
  readonly isStart: boolean;
  /** Last packet of a layer's frame. */
  readonly isEnd: boolean;
  readonly isInter: boolean;
  readonly layer: number;
  readonly picture: { readonly number: number; readonly range: number } | null;
  readonly size: { readonly width: number; readonly height: number } | null;
}

export class Vp9Depacketizer extends VideoDepacketizer {
  private slots = new Slots();

  protected override begins(one: Ordered): boolean {
    const head = descriptor(one.packet.payload);
    // A layer that is left out may be the smallest; after a loss nobody knows.
    return head?.isStart === true && (head.layer === 0 || !one.isAfterLoss);
  }

  protected override picture(one: Ordered) {
    return descriptor(one.packet.payload)?.picture ?? null;
  }

  protected override frame(parts: readonly Ordered[]): Frame | null {
    const layers: Uint8Array[][] = [];
    let [size, isOpen, isKey]: [Descriptor['size'], boolean, boolean] = [null, false, false];
    for (const { packet } of parts) {
      const head = descriptor(packet.payload);
      if (!head || head.isStart === isOpen) return null;
      const piece = packet.payload.subarray(head.length);
      if (head.isStart) {
        if (layers.length === 0) isKey = head.layer === 0 && !head.isInter && isKeyframe(piece);
        layers.push([]);
      }
      layers.at(-1)?.push(piece);
      isOpen = !head.isEnd;
      size ??= head.size;
    }
    if (isOpen) return null;
    const bytes = superframe(
      layers.map((pieces) => concat(...pieces)),
      this.slots,
    );
    if (!bytes || bytes.length === 0) return null;
    return { ...stamp(parts), isKey, bytes, ...(size ? { size } : {}) };
  }
}

/** `frame_type`, where it is not only a frame that is shown again. */
function isKeyframe(frame: Uint8Array): boolean {
  return ((frame[0] ?? 0) & 0xcc) === 0x80;
}

function descriptor(payload: Uint8Array): Descriptor | null {
  const first = payload[0];
  if (first === undefined) return null;
  const [hasPicture, isInter, hasLayers, isFlexible, isStart, isEnd, hasStructure] = bits(first);
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
  return {
    length: at,
    isStart: isStart ?? false,
    isEnd: isEnd ?? false,
    isInter: isInter ?? false,
    layer,
    picture,
    size,
  };
}

/** From the highest bit down. */
function bits(byte: number): boolean[] {
  return [7, 6, 5, 4, 3, 2, 1, 0].map((bit) => ((byte >> bit) & 1) === 1);
}
