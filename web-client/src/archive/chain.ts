/**
 * The clear chain of a segment: which chunks there are, when each begins, and proof that none of
 * them was changed, dropped or put in since. Needs no key; docs/archive-format.md, section 8.
 */
import { type Bytes, concat, isEqual, text, u32, u64, ulid, view } from './bytes';
import { isSigned, sha256 } from './hash';

const HEAD = 52;
const SIZES: Readonly<{ [entry: string]: number }> = { C: 41, S: 65, E: 65, R: 97 };

export interface ChainChunk {
  readonly chunk: number;
  /** Microseconds since the segment's `t0`. */
  readonly at: number;
  readonly sha256: Bytes;
  /** A record starts with it: it is the first one, or follows a signature. */
  readonly isAligned: boolean;
}

export interface Signature {
  readonly entry: 'S' | 'E' | 'R';
  readonly signature: Bytes;
  /** Who signed, where the entry says so (`R`). */
  readonly key: Bytes | null;
  readonly chunks: number;
}

export interface Chain {
  readonly segment: number;
  readonly t0: number;
  readonly prev: Bytes;
  /** Where the first chunk stands in the `.age` file. */
  readonly first: number;
  readonly chunks: readonly ChainChunk[];
  readonly signatures: readonly Signature[];
  readonly sealed: 'closed' | 'salvaged' | 'open';
  /** The file ends in the middle of an entry, or holds what is none. */
  readonly isTorn: boolean;
}

/** Reads a chain; throws when there is not even a head. */
export function readChain(file: Bytes): Chain {
  if (file.length < HEAD || String.fromCharCode(...file.subarray(0, 4)) !== 'CCH1') {
    throw new Error('not a chain');
  }
  const head = view(file);
  const chunks: ChainChunk[] = [];
  const signatures: Signature[] = [];
  let sealed: Chain['sealed'] = 'open';
  let isAligned = true;
  let at = HEAD;
  while (at < file.length && sealed === 'open') {
    const letter = String.fromCharCode(file[at] ?? 0);
    const size = SIZES[letter];
    if (size === undefined || at + size > file.length) break;
    const entry = file.slice(at, at + size);
    if (letter === 'C') {
      const fields = view(entry);
      const sha = entry.slice(9);
      chunks.push({
        chunk: fields.getUint32(1, true),
        at: fields.getUint32(5, true),
        sha256: sha,
        isAligned,
      });
      isAligned = false;
    } else {
      signatures.push({
        entry: letter as Signature['entry'],
        signature: entry.slice(-64),
        key: letter === 'R' ? entry.slice(1, 33) : null,
        chunks: chunks.length,
      });
      isAligned = true;
      if (letter === 'E') sealed = 'closed';
      if (letter === 'R') sealed = 'salvaged';
    }
    at += size;
  }
  return {
    segment: head.getUint32(4, true),
    t0: Number(head.getBigUint64(8, true)),
    prev: file.slice(16, 48),
    first: head.getUint32(48, true),
    chunks,
    signatures,
    sealed,
    isTorn: at < file.length,
  };
}

export interface Fault {
  readonly segment: number;
  /** The first chunk that is not proven, or null when the segment as a whole is wrong. */
  readonly chunk: number | null;
  readonly why: FaultKind;
}

export type FaultKind =
  | 'chain-unreadable'
  | 'wrong-segment'
  | 'not-linked'
  | 'chunk-numbers'
  | 'signature'
  | 'unsigned'
  | 'torn'
  | 'chunk-changed'
  | 'chunk-unreadable'
  | 'chunk-missing'
  | 'segment-missing'
  | 'manifest-differs'
  | 'too-long';

export interface Expected {
  readonly recording: string;
  readonly segment: number;
  readonly prev: Bytes;
  /** The writer in charge. */
  readonly writer: Bytes;
  readonly node: Bytes;
  /** The last segment of an open recording may still lack its last signature. */
  readonly isOpen: boolean;
}

export interface Checked {
  readonly last: Bytes;
  readonly faults: readonly Fault[];
}

/** Checks a chain against what stands before it. `head` is the first `first` bytes of the `.age` file. */
export async function checkChain(chain: Chain, head: Bytes, expected: Expected): Promise<Checked> {
  const { segment } = expected;
  const faults: Fault[] = [];
  const fault = (why: FaultKind, chunk: number | null) => faults.push({ segment, chunk, why });
  if (chain.segment !== segment) fault('wrong-segment', null);
  if (!isEqual(chain.prev, expected.prev)) fault('not-linked', null);

  const id = ulid(expected.recording);
  let value = await sha256(
    text('consilium/segment/1\n'),
    id,
    u32(chain.segment),
    u64(BigInt(chain.t0)),
    chain.prev,
    head,
  );
  let proven = 0;
  let next = 0;
  for (const signed of chain.signatures) {
    for (; next < signed.chunks; next++) {
      const chunk = chain.chunks[next];
      if (!chunk) break;
      if (chunk.chunk !== next) fault('chunk-numbers', next);
      value = await sha256(value, u32(chunk.chunk), u32(chunk.at), chunk.sha256);
    }
    const message = concat(
      text('consilium/chain/1\n'),
      text(signed.entry),
      id,
      u32(chain.segment),
      u32(signed.chunks),
      value,
    );
    const isNode = signed.entry !== 'R' || isEqual(signed.key ?? value, expected.node);
    const key = signed.entry === 'R' ? expected.node : expected.writer;
    if (isNode && (await isSigned(key, signed.signature, message))) {
      proven = signed.chunks;
    } else {
      // What follows is built on it: naming the first unproven chunk is enough.
      fault('signature', proven);
      break;
    }
  }
  if (chain.sealed === 'open' && !expected.isOpen) fault('unsigned', proven);
  else if (chain.isTorn && !expected.isOpen) fault('torn', proven);
  for (; next < chain.chunks.length; next++) {
    const chunk = chain.chunks[next];
    if (chunk) value = await sha256(value, u32(chunk.chunk), u32(chunk.at), chunk.sha256);
  }
  return { last: value, faults };
}
