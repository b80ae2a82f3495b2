/** Bytes as the archive writes them: little-endian numbers, hex, base64 and recording ids. */

export type Bytes = Uint8Array<ArrayBuffer>;

export function concat(...parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

export function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function text(words: string): Bytes {
  return new TextEncoder().encode(words) as Bytes;
}

/** Throws on anything that is not UTF-8. */
export function fromText(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function fromHex(digits: string): Bytes {
  if (!/^([0-9a-f]{2})*$/i.test(digits)) throw new Error('not hexadecimal');
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

export function base64(bytes: Uint8Array): string {
  let letters = '';
  for (const byte of bytes) letters += String.fromCharCode(byte);
  return btoa(letters);
}

/** With or without padding; throws on anything else. */
export function fromBase64(letters: string): Bytes {
  return Uint8Array.from(atob(letters), (letter) => letter.charCodeAt(0));
}

export function u32(value: number): Bytes {
  const bytes = new Uint8Array(4);
  view(bytes).setUint32(0, value, true);
  return bytes;
}

export function u64(value: bigint): Bytes {
  const bytes = new Uint8Array(8);
  view(bytes).setBigUint64(0, value, true);
  return bytes;
}

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** The 16 bytes of a recording's id, which is written as 26 characters of Crockford's base 32. */
export function ulid(id: string): Bytes {
  if (!/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(id)) throw new Error('not the id of a recording');
  let value = 0n;
  for (const letter of id) value = value * 32n + BigInt(CROCKFORD.indexOf(letter));
  const bytes = new Uint8Array(16);
  view(bytes).setBigUint64(0, value >> 64n);
  view(bytes).setBigUint64(8, value & 0xffff_ffff_ffff_ffffn);
  return bytes;
}
