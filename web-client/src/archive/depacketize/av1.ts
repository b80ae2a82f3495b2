/** AV1 (AOM's RTP payload format): OBUs put together and given back their sizes. */
import { concat } from '../bytes';
import type { Ordered } from '../order';
import { type Frame, stamp, VideoDepacketizer } from './frame';

const SEQUENCE_HEADER = 1;
const TEMPORAL_DELIMITER = 2;
const TILE_LIST = 8;

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
    let sequence: Uint8Array | null = null;
    for (const obu of obus) {
      const type = ((obu[0] ?? 0) >> 3) & 0x0f;
      if (type === TEMPORAL_DELIMITER || type === TILE_LIST) continue;
      const sized = withSize(obu);
      if (type === SEQUENCE_HEADER) sequence = sized;
      kept.push(sized);
    }
    if (kept.length === 0) return null;
    const isKey = sequence !== null;
    const bytes = concat(...kept);
    return {
      ...stamp(parts),
      isKey,
      bytes,
      ...(sequence ? { setup: concat(configuration(sequence), sequence) } : {}),
    };
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

/** The OBU with its size field, which RTP leaves out. */
function withSize(obu: Uint8Array): Uint8Array {
  const head = obu[0] ?? 0;
  if (head & 0x02) return obu;
  const headLength = head & 0x04 ? 2 : 1;
  const body = obu.subarray(headLength);
  const extension = obu.subarray(1, headLength);
  return concat(Uint8Array.of(head | 0x02), extension, toLeb128(body.length), body);
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

/**
 * The four bytes of `av1C` (AV1 in ISOBMFF, 2.3.3) for the profiles that WebRTC sends: profile and
 * level from the sequence header, 8 bits, 4:2:0.
 */
function configuration(sequence: Uint8Array): Uint8Array {
  const size = leb128(sequence, (sequence[0] ?? 0) & 0x04 ? 2 : 1);
  const first = sequence[size?.next ?? 0] ?? 0;
  const second = sequence[(size?.next ?? 0) + 1] ?? 0;
  const third = sequence[(size?.next ?? 0) + 2] ?? 0;
  const profile = first >> 5;
  const isReduced = ((first >> 3) & 1) === 1;
  const hasTiming = ((first >> 2) & 1) === 1;
  // Reduced: the level follows at once. Else, without timing: one bit, then 5 + 12 bits before it.
  const bits = (first << 16) | (second << 8) | third;
  const level = isReduced
    ? (bits >> 14) & 0x1f
    : hasTiming
      ? 8
      : (levelOf(sequence, size?.next ?? 0) ?? 8);
  return Uint8Array.of(0x81, (profile << 5) | level, 0x0c, 0);
}

/** seq_level_idx[0] stands after 3+1+1+1+1+5+12 bits. */
function levelOf(sequence: Uint8Array, from: number): number | null {
  let level = 0;
  for (let bit = 24; bit < 29; bit++) {
    const byte = sequence[from + (bit >> 3)];
    if (byte === undefined) return null;
    level = (level << 1) | ((byte >> (7 - (bit & 7))) & 1);
  }
  return level;
}
