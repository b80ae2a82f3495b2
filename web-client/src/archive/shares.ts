/**
 * How the secret of a recording comes together: the officers' part (one share, or M of N over
 * GF(2^8)) XOR the release service's part. Neither says anything about the secret alone.
 */
import { type Bytes, fromBase64, fromText } from './bytes';

export interface Share {
  readonly part: 'compliance' | 'release';
  readonly index: number;
  readonly threshold: number;
  readonly value: Bytes;
}

/** Reads the plaintext of a share file; one of another recording is refused. */
export function readShare(plaintext: Uint8Array, recording: string): Share {
  const share = JSON.parse(fromText(plaintext)) as Record<string, unknown>;
  if (share.version !== 1) throw new Error('a share of an unknown version');
  if (share.recording !== recording) throw new Error('a share of another recording');
  const { part, index, threshold, value } = share;
  const isWhole = (number: unknown): number is number =>
    Number.isInteger(number) && (number as number) >= 1 && (number as number) <= 255;
  if (
    (part !== 'compliance' && part !== 'release') ||
    !isWhole(index) ||
    !isWhole(threshold) ||
    typeof value !== 'string'
  ) {
    throw new Error('not a share');
  }
  const bytes = fromBase64(value);
  if (bytes.length !== 32) throw new Error('a share of the wrong length');
  return { part, index, threshold, value: bytes };
}

/** How many officers' shares are still missing. */
export function missing(shares: readonly Share[]): number {
  const threshold = shares[0]?.threshold ?? 1;
  return Math.max(0, threshold - distinct(shares).length);
}

/** The X25519 secret of the recording. */
export function combine(compliance: readonly Share[], release: Share): Bytes {
  if (missing(compliance) > 0) throw new Error('too few shares');
  const part = officersPart(distinct(compliance));
  return part.map((byte, i) => byte ^ (release.value[i] ?? 0));
}

function officersPart(shares: readonly Share[]): Bytes {
  const first = shares[0];
  if (!first) throw new Error('no share');
  if (first.threshold === 1) return first.value;
  return atZero(shares.slice(0, first.threshold));
}

/** Lagrange's interpolation at x = 0, byte by byte. */
function atZero(shares: readonly Share[]): Bytes {
  const whole = new Uint8Array(32);
  for (const mine of shares) {
    let weight = 1;
    for (const other of shares) {
      if (other === mine) continue;
      weight = times(weight, times(other.index, inverse(other.index ^ mine.index)));
    }
    for (let i = 0; i < 32; i++) whole[i] = (whole[i] ?? 0) ^ times(mine.value[i] ?? 0, weight);
  }
  return whole;
}

function distinct(shares: readonly Share[]): Share[] {
  return shares.filter((share, i) => shares.findIndex((one) => one.index === share.index) === i);
}

/** Multiplication in GF(2^8) with the polynomial x^8+x^4+x^3+x+1. */
export function times(a: number, b: number): number {
  let [product, left, right] = [0, a, b];
  while (right > 0) {
    if (right & 1) product ^= left;
    left = (left << 1) ^ (left & 0x80 ? 0x11b : 0);
    right >>= 1;
  }
  return product;
}

/** a^254, because the group has 255 elements. */
function inverse(a: number): number {
  let power = 1;
  for (let i = 0; i < 254; i++) power = times(power, a);
  return power;
}
