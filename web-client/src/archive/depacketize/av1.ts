/** AV1 (AOM's RTP payload format): OBUs put together and given back their sizes. */
import { concat } from '../bytes';
import type { Ordered } from '../order';
import { type Bits, bitsOf } from './bits';
import { type Frame, stamp, VideoDepacketizer } from './frame';

const SEQUENCE_HEADER = 1;
const TEMPORAL_DELIMITER = 2;
const FRAME_HEADER = 3;
const FRAME = 6;
const TILE_LIST = 8;
const PADDING = 15;
/** By the next one dav1d knows that the picture before has no larger layer, and shows it. */
const DELIMITER = Uint8Array.of(0x12, 0);
const LEFT_OUT: readonly number[] = [TEMPORAL_DELIMITER, TILE_LIST, PADDING];

export class Av1Depacketizer extends VideoDepacketizer {
  protected override begins(one: Ordered): boolean {
    const head = one.packet.payload[0] ?? 0;
    const isContinuation = (head & 0x80) !== 0;
    const isNewSequence = (head & 0x08) !== 0;
    return isNewSequence || (!one.isAfterLoss && !isContinuation);
  }

  protected override frame(parts: readonly Ordered[]): Frame | null {
    const obus = obusOf(parts.map(({ packet }) => packet.payload));
    if (!obus) return null;
    const kept: Uint8Array[] = [];
    let setup: Setup | null = null;
    // The first frame decides: larger layers of a keyframe are made from the smallest.
    let isKey: boolean | null = null;
    for (const obu of obus) {
      const type = ((obu[0] ?? 0) >> 3) & 0x0f;
      if (LEFT_OUT.includes(type)) continue;
      const sized = withSize(obu);
      if (!sized) return null;
      const body = bodyOf(sized);
      if (type === SEQUENCE_HEADER) {
        setup = setupOf(sized, body);
        if (!setup) return null;
      }
      if (type === FRAME || type === FRAME_HEADER) isKey ??= ((body[0] ?? 0xff) & 0xe0) === 0;
      kept.push(sized);
    }
    if (kept.length === 0) return null;
    const bytes = concat(DELIMITER, ...kept);
    return { ...stamp(parts), isKey: setup !== null && isKey === true, bytes, ...setup };
  }
}

function obusOf(payloads: readonly Uint8Array[]): Uint8Array[] | null {
  const obus: Uint8Array[] = [];
  let open: Uint8Array | null = null;
  for (const payload of payloads) {
    const head = payload[0] ?? 0;
    const continues = (head & 0x80) !== 0;
    const goesOn = (head & 0x40) !== 0;
    const count = (head >> 4) & 3;
    const elements: Uint8Array[] = [];
    for (let at = 1, n = 1; at < payload.length; n++) {
      if (count !== 0 && n === count) {
        elements.push(payload.subarray(at));
        break;
      }
      const size = leb128(payload, at);
      if (!size || size.next + size.value > payload.length) return null;
      elements.push(payload.subarray(size.next, size.next + size.value));
      at = size.next + size.value;
    }
    if (continues !== (open !== null)) return null;
    for (const [i, element] of elements.entries()) {
      const whole: Uint8Array = open && i === 0 ? concat(open, element) : element;
      open = null;
      if (goesOn && i === elements.length - 1) open = whole;
      else if (whole.length > 0) obus.push(whole);
    }
  }
  return open ? null : obus;
}

/** The OBU with its size field, which RTP leaves out; null when it contradicts itself. */
function withSize(obu: Uint8Array): Uint8Array | null {
  const head = obu[0] ?? 0;
  const headLength = head & 0x04 ? 2 : 1;
  if (head & 0x80 || obu.length < headLength) return null;
  if (head & 0x02) {
    const size = leb128(obu, headLength);
    return size && size.next + size.value === obu.length ? obu : null;
  }
  const body = obu.subarray(headLength);
  const extension = obu.subarray(1, headLength);
  return concat(Uint8Array.of(head | 0x02), extension, toLeb128(body.length), body);
}

/** What is behind the head of an OBU with a size. */
function bodyOf(sized: Uint8Array): Uint8Array {
  const size = leb128(sized, (sized[0] ?? 0) & 0x04 ? 2 : 1);
  return sized.subarray(size?.next ?? sized.length);
}

function leb128(bytes: Uint8Array, from: number): { value: number; next: number } | null {
  let value = 0;
  for (let i = 0; i < 5; i++) {
    const byte = bytes[from + i];
    if (byte === undefined) return null;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if ((byte & 0x80) === 0) return { value, next: from + i + 1 };
  }
  return null;
}

function toLeb128(value: number): Uint8Array {
  const bytes: number[] = [];
  let left = value;
  do {
    const low = left % 128;
    left = Math.floor(left / 128);
    bytes.push(left > 0 ? low | 0x80 : low);
  } while (left > 0);
  return Uint8Array.from(bytes);
}

type Setup = Required<Pick<Frame, 'setup' | 'size'>>;

/**
 * `av1C` (AV1 in ISOBMFF, 2.3.3) and the size of the largest layer out of a sequence header (AV1,
 * 5.5.1). The colours are those that WebRTC sends: 8 bits, 4:2:0.
 */
function setupOf(obu: Uint8Array, body: Uint8Array): Setup | null {
  return bitsOf(body, (bits) => {
    const profile = bits.read(3);
    bits.read(1);
    const { level, tier } = bits.flag() ? { level: bits.read(5), tier: 0 } : operatingPoint(bits);
    const [across, down] = [bits.read(4) + 1, bits.read(4) + 1];
    const size = { width: bits.read(across) + 1, height: bits.read(down) + 1 };
    const head = Uint8Array.of(0x81, (profile << 5) | level, (tier << 7) | 0x0c, 0);
    return { setup: concat(head, obu), size };
  });
}

/** Level and tier of the first operating point, which is all layers; the others are passed over. */
function operatingPoint(bits: Bits): { level: number; tier: number } {
  let delayBits = 0;
  if (bits.flag()) {
    bits.read(32);
    bits.read(32);
    if (bits.flag()) passTicks(bits);
    if (bits.flag()) {
      delayBits = bits.read(5) + 1;
      bits.read(32);
      bits.read(10);
    }
  }
  const hasDisplayDelay = bits.flag();
  const points = Array.from({ length: bits.read(5) + 1 }, () => {
    bits.read(12);
    const level = bits.read(5);
    const tier = level > 7 ? bits.read(1) : 0;
    if (delayBits > 0 && bits.flag()) {
      bits.read(delayBits);
      bits.read(delayBits);
      bits.read(1);
    }
    if (hasDisplayDelay && bits.flag()) bits.read(4);
    return { level, tier };
  });
  return points[0] ?? { level: 0, tier: 0 };
}

/** As many bits as zeros stand before the first one (AV1, 4.10.3). */
function passTicks(bits: Bits): void {
  let zeros = 0;
  while (!bits.flag()) zeros += 1;
  bits.read(Math.min(zeros, 32));
}
