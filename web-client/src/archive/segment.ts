/**
 * One sealed segment: its chain checked once, its chunks checked and opened as they are read. A bad
 * chunk is reported and left out; the reading goes on where a record starts again.
 */
import { SEALED_CHUNK, Stream } from './age';
import { type Bytes, isEqual } from './bytes';
import {
  type Chain,
  type ChainChunk,
  checkChain,
  type Expected,
  type Fault,
  readChain,
} from './chain';
import { sha256 } from './hash';
import { json, Kind, Nonsense, type Record, RecordReader } from './records';
import type { Source } from './source';

/** How many chunks one request asks for: 2 MiB. */
export const BATCH = 32;

export interface Batch {
  readonly records: readonly Record[];
  /** Chunks `from` up to before `until` of the segment were read. */
  readonly from: number;
  readonly until: number;
  readonly faults: readonly Fault[];
}

export interface Keyframe {
  readonly track: number;
  /** Microseconds since the segment's `t0`. */
  readonly at: number;
  readonly chunk: number;
}

export class Segment {
  private constructor(
    readonly number: number,
    readonly chain: Chain,
    /** Of the chain itself, found at opening. */
    readonly faults: readonly Fault[],
    readonly last: Bytes,
    private readonly stream: Stream,
    private readonly source: Source,
  ) {}

  static async open(source: Source, identity: string, expected: Expected): Promise<Segment> {
    const name = fileName(expected.segment);
    const file = await source.file(`${name}.chain`);
    if (!file) throw new Error('the chain is missing');
    const chain = readChain(file);
    const head = await source.range(`${name}.age`, 0, chain.first);
    const [{ faults, last }, stream] = await Promise.all([
      checkChain(chain, head, expected),
      Stream.open(head, identity),
    ]);
    return new Segment(expected.segment, chain, faults, last, stream, source);
  }

  /** The last chunk at which records start, at or before a chunk. */
  aligned(chunk: number): number {
    for (let n = Math.min(chunk, this.chain.chunks.length - 1); n > 0; n--) {
      if (this.chain.chunks[n]?.isAligned) return n;
    }
    return 0;
  }

  /** The last chunk that begins at or before a time since `t0`. */
  chunkAt(at: number): number {
    const { chunks } = this.chain;
    let [low, high] = [0, chunks.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((chunks[middle]?.at ?? 0) <= at) low = middle;
      else high = middle - 1;
    }
    return Math.max(0, low);
  }

  /** Reads from an aligned chunk to the end, a batch at a time, the next one already on its way. */
  async *read(from: number): AsyncGenerator<Batch> {
    const records = new RecordReader();
    const { chunks } = this.chain;
    let isCut = false;
    let coming = this.fetch(from);
    for (let at = from; at < chunks.length; at += BATCH) {
      const bytes = await coming;
      const until = Math.min(at + BATCH, chunks.length);
      if (until < chunks.length) coming = this.fetch(until);
      // Whoever stops reading leaves this promise alone: its failure is nobody's.
      coming.catch(() => {});
      const faults: Fault[] = [];
      const out: Record[] = [];
      const sealed = chunks
        .slice(at, until)
        .map((_, i) => bytes.slice(i * SEALED_CHUNK, (i + 1) * SEALED_CHUNK));
      const opened = await Promise.all(
        sealed.map((chunk, i) => this.open(at + i, chunk, chunks[at + i], faults)),
      );
      for (const [i, plain] of opened.entries()) {
        if (!plain) {
          records.restart();
          isCut = true;
          continue;
        }
        if (isCut && !chunks[at + i]?.isAligned) continue;
        isCut = false;
        try {
          for (const record of records.read(plain)) {
            if (record.kind !== Kind.Padding) out.push(record);
          }
        } catch (error) {
          if (!(error instanceof Nonsense)) throw error;
          faults.push({ segment: this.number, chunk: at + i, why: 'chunk-unreadable' });
          records.restart();
          isCut = true;
        }
      }
      faults.sort((a, b) => (a.chunk ?? 0) - (b.chunk ?? 0));
      yield { records: out, from: at, until, faults };
    }
  }

  /** Where the keyframes stand: only a segment that was closed says so. */
  async keyframes(): Promise<readonly Keyframe[]> {
    if (this.chain.sealed !== 'closed') return [];
    const keyframes: Keyframe[] = [];
    const from = this.aligned(this.chain.chunks.length - 1);
    for await (const batch of this.read(from)) {
      for (const record of batch.records) {
        if (record.kind !== Kind.SegmentEnd) continue;
        const end = json(record) as {
          keyframes?: ReadonlyArray<readonly [number, number, number]>;
        };
        for (const [track, at, chunk] of end.keyframes ?? []) keyframes.push({ track, at, chunk });
      }
    }
    return keyframes;
  }

  private fetch(from: number): Promise<Bytes> {
    const { first, chunks } = this.chain;
    const until = Math.min(from + BATCH, chunks.length);
    return this.source.range(
      `${fileName(this.number)}.age`,
      first + from * SEALED_CHUNK,
      first + until * SEALED_CHUNK,
    );
  }

  private async open(
    n: number,
    sealed: Bytes,
    entry: ChainChunk | undefined,
    faults: Fault[],
  ): Promise<Bytes | null> {
    const fault = (why: Fault['why']) => faults.push({ segment: this.number, chunk: n, why });
    if (sealed.length === 0) {
      fault('chunk-missing');
      return null;
    }
    if (!entry || !isEqual(await sha256(sealed), entry.sha256)) fault('chunk-changed');
    const isLast = n === this.chain.chunks.length - 1;
    const plain = await this.stream.chunk(n, sealed, isLast);
    if (!plain && faults.every((one) => one.chunk !== n)) fault('chunk-unreadable');
    return plain;
  }
}

export function fileName(segment: number): string {
  return `seg-${String(segment).padStart(6, '0')}`;
}
