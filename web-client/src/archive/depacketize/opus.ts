/**
 * Opus (RFC 7587), also inside RED (RFC 2198): every packet is a frame. Redundant copies in RED are
 * left out, the journal holds the packets that they stand in for.
 */
import type { Ordered } from '../order';
import { type Depacketizer, type Frame, stamp } from './frame';

/** One packet of 20 ms that decodes to silence. */
export const SILENCE = new Uint8Array([0xf8, 0xff, 0xfe]);
export const SILENCE_US = 20_000;

export class OpusDepacketizer implements Depacketizer {
  readonly isIntra = true;

  /** `red`: the payload type of packets in RED; they come mixed with bare ones. */
  constructor(private readonly red: number | undefined) {}

  push(one: Ordered): Frame[] {
    const { payload, payloadType } = one.packet;
    const bytes = payloadType === this.red ? primary(payload) : payload;
    if (!bytes || bytes.length === 0) return [];
    return [{ ...stamp([one]), isKey: true, bytes }];
  }
}

/** The last block of a RED packet, the one that is not redundant. */
function primary(payload: Uint8Array): Uint8Array | null {
  let at = 0;
  let redundant = 0;
  while (at < payload.length && ((payload[at] ?? 0) & 0x80) !== 0) {
    redundant += (((payload[at + 2] ?? 0) & 0x03) << 8) | (payload[at + 3] ?? 0);
    at += 4;
  }
  const from = at + 1 + redundant;
  return from <= payload.length ? payload.subarray(from) : null;
}

/** How long an Opus packet sounds, in microseconds (RFC 6716, 3.1 and 3.2). */
export function opusDuration(bytes: Uint8Array): number {
  const toc = bytes[0] ?? 0;
  const config = toc >> 3;
  const silk = [10_000, 20_000, 40_000, 60_000];
  const frame =
    config < 12
      ? (silk[config & 3] ?? 0)
      : config < 16
        ? 10_000 << (config & 1)
        : 2_500 << (config & 3);
  const code = toc & 3;
  const count = code === 0 ? 1 : code === 3 ? (bytes[1] ?? 0) & 0x3f : 2;
  return Math.min(frame * count, 120_000);
}
