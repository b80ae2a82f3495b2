/** RTP packets of coded media for tests and the development server, as a browser would send them. */
import { join } from './writer';

export interface Sent {
  readonly sequence: number;
  readonly timestamp: number;
  readonly isMarked: boolean;
  readonly payload: Uint8Array;
  readonly isKeyframe: boolean;
}

const MTU = 1_100;

export function rtp(sent: Sent, payloadType: number, ssrc: number): Uint8Array<ArrayBuffer> {
  const head = new Uint8Array(12);
  const fields = new DataView(head.buffer);
  fields.setUint8(0, 0x80);
  fields.setUint8(1, payloadType | (sent.isMarked ? 0x80 : 0));
  fields.setUint16(2, sent.sequence & 0xffff);
  fields.setUint32(4, sent.timestamp >>> 0);
  fields.setUint32(8, ssrc);
  return join(head, sent.payload);
}

export function pieces(bytes: Uint8Array, size = MTU): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) out.push(bytes.subarray(at, at + size));
  return out;
}

/** A VP8 frame with a picture number of 15 bits. */
export function vp8(
  frame: Uint8Array,
  picture: number,
  timestamp: number,
  sequence: number,
): Sent[] {
  const isKeyframe = ((frame[0] ?? 1) & 1) === 0;
  const parts = pieces(frame);
  return parts.map((part, i) => ({
    sequence: sequence + i,
    timestamp,
    isMarked: i === parts.length - 1,
    isKeyframe: isKeyframe && i === 0,
    payload: join(
      Uint8Array.of(
        0x80 | (i === 0 ? 0x10 : 0),
        0x80,
        0x80 | ((picture >> 8) & 0x7f),
        picture & 0xff,
      ),
      part,
    ),
  }));
}

/** A VP9 picture of one layer, non-flexible mode. */
export function vp9(
  frame: Uint8Array,
  isKey: boolean,
  picture: number,
  timestamp: number,
  sequence: number,
): Sent[] {
  const parts = pieces(frame);
  return parts.map((part, i) => {
    const isFirst = i === 0;
    const isLast = i === parts.length - 1;
    const head = 0x80 | (isKey ? 0 : 0x40) | (isFirst ? 0x08 : 0) | (isLast ? 0x04 : 0);
    return {
      sequence: sequence + i,
      timestamp,
      isMarked: isLast,
      isKeyframe: isKey && isFirst,
      payload: join(Uint8Array.of(head, 0x80 | ((picture >> 8) & 0x7f), picture & 0xff), part),
    };
  });
}

/** The NAL units of a picture, large ones in fragments, parameter sets together. */
export function h264(units: readonly Uint8Array[], timestamp: number, sequence: number): Sent[] {
  const payloads: Uint8Array[] = [];
  const sets = units.filter((unit) => [7, 8].includes((unit[0] ?? 0) & 31));
  if (sets.length > 0) {
    payloads.push(
      join(
        Uint8Array.of(0x78),
        ...sets.flatMap((unit) => [Uint8Array.of(unit.length >> 8, unit.length & 255), unit]),
      ),
    );
  }
  for (const unit of units) {
    const head = unit[0] ?? 0;
    if ([7, 8, 9].includes(head & 31)) continue;
    if (unit.length <= MTU) {
      payloads.push(unit);
      continue;
    }
    const parts = pieces(unit.subarray(1));
    for (const [i, part] of parts.entries()) {
      const edge = (i === 0 ? 0x80 : 0) | (i === parts.length - 1 ? 0x40 : 0);
      payloads.push(join(Uint8Array.of((head & 0xe0) | 28, edge | (head & 31)), part));
    }
  }
  const isKey = units.some((unit) => ((unit[0] ?? 0) & 31) === 5);
  return payloads.map((payload, i) => ({
    sequence: sequence + i,
    timestamp,
    isMarked: i === payloads.length - 1,
    isKeyframe: isKey && i === 0,
    payload,
  }));
}

/** An AV1 temporal unit: OBUs without sizes, cut wherever a packet is full. */
export function av1(obus: readonly Uint8Array[], timestamp: number, sequence: number): Sent[] {
  const isKey = obus.some((obu) => (((obu[0] ?? 0) >> 3) & 15) === 1);
  const payloads: Uint8Array[] = [];
  for (const obu of obus) {
    const parts = pieces(obu);
    for (const [i, part] of parts.entries()) {
      const head =
        (i > 0 ? 0x80 : 0) |
        (i < parts.length - 1 ? 0x40 : 0) |
        0x10 |
        (isKey && payloads.length === 0 ? 0x08 : 0);
      payloads.push(join(Uint8Array.of(head), part));
    }
  }
  return payloads.map((payload, i) => ({
    sequence: sequence + i,
    timestamp,
    isMarked: i === payloads.length - 1,
    isKeyframe: isKey && i === 0,
    payload,
  }));
}
