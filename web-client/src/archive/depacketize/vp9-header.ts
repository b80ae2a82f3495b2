/**
 * The uncompressed header of a VP9 frame (bitstream specification, 6.2 and 7.2), read to its end,
 * because what stands behind it begins at the next whole byte.
 */
import { type Bits, bitsOf } from './bits';

const SYNC_CODE = 0x498342;
const RGB = 7;
/** Bits of each feature of a segment, with its sign. */
const FEATURES = [9, 7, 2, 0];
/** Tiles are between 4 and 64 superblocks of 64 pixels wide. */
const [NARROWEST, WIDEST] = [4, 64];

export interface Vp9Header {
  readonly isKey: boolean;
  /** A decoder gives it out. */
  readonly isShown: boolean;
  /** To the next frame it is nothing whether this one is shown. */
  readonly isResilient: boolean;
  readonly profile: number;
  /** Its bits. */
  readonly length: number;
}

/** Remembers how wide the eight frames are that a decoder keeps: sizes may be theirs. */
export class Slots {
  private widths: Array<number | null> = Array(8).fill(null);

  /** The header of the next frame; null when it cannot be read, and for what shows a frame again. */
  next(frame: Uint8Array): Vp9Header | null {
    return bitsOf(frame, (bits) => this.read(bits));
  }

  private read(bits: Bits): Vp9Header | null {
    if (bits.read(2) !== 2) return null;
    const profile = bits.read(1) + 2 * bits.read(1);
    const hasReserved = profile === 3 && bits.flag();
    const showsExisting = bits.flag();
    if (hasReserved || showsExisting) return null;
    const isKey = !bits.flag();
    const isShown = bits.flag();
    const isResilient = bits.flag();
    const isIntraOnly = !isKey && !isShown && bits.flag();
    if (!isKey && !isResilient) bits.read(2);
    const width = isKey
      ? this.ofKey(bits, profile)
      : isIntraOnly
        ? this.ofIntra(bits, profile)
        : this.ofInter(bits);
    if (width === null) return null;
    if (bits.flag()) bits.read(32);
    if (!isKey && !isIntraOnly) {
      bits.read(1);
      if (!bits.flag()) bits.read(2);
    }
    if (!isResilient) bits.read(2);
    bits.read(2);
    passLoopFilter(bits);
    passQuantisers(bits);
    passSegmentation(bits);
    passTiles(bits, width);
    bits.read(16);
    return { isKey, isShown, isResilient, profile, length: bits.at };
  }

  private ofKey(bits: Bits, profile: number): number | null {
    if (bits.read(24) !== SYNC_CODE || !passColours(bits, profile)) return null;
    const width = widthOf(bits);
    this.widths.fill(width);
    return width;
  }

  private ofIntra(bits: Bits, profile: number): number | null {
    if (bits.read(24) !== SYNC_CODE) return null;
    if (profile > 0 && !passColours(bits, profile)) return null;
    const refreshed = bits.read(8);
    return this.refresh(refreshed, widthOf(bits));
  }

  private ofInter(bits: Bits): number | null {
    const refreshed = bits.read(8);
    const references = [0, 1, 2].map(() => bits.read(4) >> 1);
    const known = references.find(() => bits.flag());
    const width = known === undefined ? widthOf(bits) : (this.widths[known] ?? null);
    return width === null ? null : this.refresh(refreshed, width);
  }

  private refresh(refreshed: number, width: number): number {
    this.widths = this.widths.map((old, place) => ((refreshed >> place) & 1 ? width : old));
    return width;
  }
}

/** Pixels across; those down are read over. */
function widthOf(bits: Bits): number {
  const width = bits.read(16) + 1;
  bits.read(16);
  return width;
}

function passColours(bits: Bits, profile: number): boolean {
  if (profile >= 2) bits.read(1);
  const hasSubsampling = (profile & 1) === 1;
  const isRgb = bits.read(3) === RGB;
  if (isRgb && !hasSubsampling) return false;
  bits.read(hasSubsampling && !isRgb ? 4 : 1);
  return true;
}

function passLoopFilter(bits: Bits): void {
  bits.read(9);
  if (!bits.flag() || !bits.flag()) return;
  for (let i = 0; i < 6; i++) if (bits.flag()) bits.read(7);
}

function passQuantisers(bits: Bits): void {
  bits.read(8);
  for (let i = 0; i < 3; i++) if (bits.flag()) bits.read(5);
}

function passSegmentation(bits: Bits): void {
  if (!bits.flag()) return;
  const passProbabilities = (count: number) => {
    for (let i = 0; i < count; i++) if (bits.flag()) bits.read(8);
  };
  if (bits.flag()) {
    passProbabilities(7);
    if (bits.flag()) passProbabilities(3);
  }
  if (!bits.flag()) return;
  bits.read(1);
  for (let segment = 0; segment < 8; segment++) {
    for (const feature of FEATURES) if (bits.flag()) bits.read(feature);
  }
}

function passTiles(bits: Bits, width: number): void {
  const across = Math.ceil(width / 64);
  let least = 0;
  while (WIDEST << least < across) least += 1;
  let most = 0;
  while (across >> (most + 1) >= NARROWEST) most += 1;
  for (let log2 = least; log2 < most && bits.flag(); log2++);
  if (bits.flag()) bits.read(1);
}
