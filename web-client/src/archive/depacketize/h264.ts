/** H.264 (RFC 6184, packetisation modes 0 and 1): NAL units with four bytes of length each. */
import { concat, view } from '../bytes';
import type { Ordered } from '../order';
import { type Frame, stamp, VideoDepacketizer } from './frame';

const IDR = 5;
const SPS = 7;
const PPS = 8;
const DELIMITER = 9;
const STAP_A = 24;
const FU_A = 28;

export class H264Depacketizer extends VideoDepacketizer {
  private sps: Uint8Array | null = null;
  private pps: Uint8Array | null = null;

  protected override begins(one: Ordered): boolean {
    const [first, second] = one.packet.payload;
    const type = (first ?? 0) & 0x1f;
    if (type === FU_A) return !one.isAfterLoss && ((second ?? 0) & 0x80) !== 0;
    // A parameter set or delimiter stands at the beginning; any other unit may be a later slice.
    return !one.isAfterLoss || type === STAP_A || type === SPS || type === DELIMITER;
  }

  protected override frame(parts: readonly Ordered[]): Frame | null {
    const units = unitsOf(parts.map(({ packet }) => packet.payload));
    if (!units) return null;
    const pictures: Uint8Array[] = [];
    let isKey = false;
    for (const unit of units) {
      const type = (unit[0] ?? 0) & 0x1f;
      if (type === SPS) this.sps = unit.slice();
      else if (type === PPS) this.pps = unit.slice();
      else if (type !== DELIMITER) pictures.push(unit);
      if (type === IDR) isKey = true;
    }
    if (pictures.length === 0 || (isKey && !(this.sps && this.pps))) return null;
    const bytes = concat(...pictures.flatMap((unit) => [length(unit.length), unit]));
    if (!isKey || !this.sps || !this.pps) return { ...stamp(parts), isKey, bytes };
    return { ...stamp(parts), isKey, bytes, setup: decoderConfiguration(this.sps, this.pps) };
  }
}

/** The NAL units of a frame, or null when a fragment is missing. */
function unitsOf(payloads: readonly Uint8Array[]): Uint8Array[] | null {
  const units: Uint8Array[] = [];
  let fragments: Uint8Array[] = [];
  for (const payload of payloads) {
    const first = payload[0] ?? 0;
    const type = first & 0x1f;
    if (type === STAP_A) {
      for (let at = 1; at + 2 <= payload.length; ) {
        const size = ((payload[at] ?? 0) << 8) | (payload[at + 1] ?? 0);
        if (at + 2 + size > payload.length) return null;
        if (size > 0) units.push(payload.subarray(at + 2, at + 2 + size));
        at += 2 + size;
      }
    } else if (type === FU_A) {
      const head = payload[1] ?? 0;
      if (head & 0x80) fragments = [Uint8Array.of((first & 0xe0) | (head & 0x1f))];
      else if (fragments.length === 0) return null;
      fragments.push(payload.subarray(2));
      if (head & 0x40) {
        units.push(concat(...fragments));
        fragments = [];
      }
    } else if (type > 0 && type < STAP_A) {
      units.push(payload);
    } else {
      return null;
    }
  }
  return fragments.length === 0 ? units : null;
}

/** An AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1). */
function decoderConfiguration(sps: Uint8Array, pps: Uint8Array): Uint8Array {
  return concat(
    Uint8Array.of(1, sps[1] ?? 0, sps[2] ?? 0, sps[3] ?? 0, 0xff, 0xe1),
    short(sps.length),
    sps,
    Uint8Array.of(1),
    short(pps.length),
    pps,
  );
}

function length(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  view(bytes).setUint32(0, value);
  return bytes;
}

function short(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}
