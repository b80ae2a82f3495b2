/** Bits of a header, the highest of each byte first. Throws `OutOfBits` behind the end. */
export class Bits {
  /** How many have been read. */
  at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  flag(): boolean {
    return this.read(1) === 1;
  }

  /** A number of so many bits, at most 32. */
  read(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++) {
      const byte = this.bytes[this.at >> 3];
      if (byte === undefined) throw new OutOfBits();
      value = value * 2 + ((byte >> (7 - (this.at & 7))) & 1);
      this.at += 1;
    }
    return value;
  }
}

export class OutOfBits extends Error {}

/** What `read` makes of the bits, or null where they end too early. */
export function bitsOf<T>(bytes: Uint8Array, read: (bits: Bits) => T | null): T | null {
  try {
    return read(new Bits(bytes));
  } catch (error) {
    if (error instanceof OutOfBits) return null;
    throw error;
  }
}
