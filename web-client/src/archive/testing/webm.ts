/** A reader of WebM clusters that knows only their grammar, for tests. */
export interface Block {
  /** Milliseconds. */
  readonly at: number;
  readonly duration: number;
  readonly isKey: boolean;
  readonly bytes: Uint8Array;
}

export function blocks(cluster: Uint8Array): Block[] {
  const out: Block[] = [];
  for (const { id, body } of elements(cluster)) {
    if (id !== 0x1f43b675) throw new Error('not a cluster');
    let base = 0;
    for (const inner of elements(body)) {
      if (inner.id === 0xe7) base = number(inner.body);
      if (inner.id !== 0xa0) continue;
      const parts = new Map(elements(inner.body).map((part) => [part.id, part.body]));
      const block = parts.get(0xa1) ?? new Uint8Array(4);
      const relative = new DataView(block.buffer, block.byteOffset).getInt16(1);
      out.push({
        at: base + relative,
        duration: number(parts.get(0x9b) ?? new Uint8Array(0)),
        isKey: !parts.has(0xfb),
        bytes: block.subarray(4),
      });
    }
  }
  return out;
}

function elements(bytes: Uint8Array): Array<{ id: number; body: Uint8Array }> {
  const out: Array<{ id: number; body: Uint8Array }> = [];
  for (let at = 0; at < bytes.length; ) {
    const idLength = Math.clz32(bytes[at] ?? 1) - 23;
    const id = number(bytes.subarray(at, at + idLength));
    at += idLength;
    const sizeLength = Math.clz32(bytes[at] ?? 1) - 23;
    const first = (bytes[at] ?? 0) & (0xff >> sizeLength);
    const size = number(Uint8Array.of(first, ...bytes.subarray(at + 1, at + sizeLength)));
    at += sizeLength;
    out.push({ id, body: bytes.subarray(at, at + size) });
    at += size;
  }
  return out;
}

function number(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte) => sum * 256 + byte, 0);
}
