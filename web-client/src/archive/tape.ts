/** The journal of a whole recording as one tape, from any place on: records with absolute times. */
import type { Chain, Fault } from './chain';
import type { Covered } from './protocol';
import type { Position, Recording } from './recording';
import type { Record } from './records';

export interface TapeRecord extends Record {
  /** Microseconds since the recording's start. */
  readonly arrival: number;
}

export interface Stretch {
  readonly records: readonly TapeRecord[];
  readonly faults: ReadonlyArray<{ readonly fault: Fault; readonly at: number }>;
  /** What was read, chunk by chunk, and whether it is proven. */
  readonly covered: readonly Covered[];
  /** The tape was read up to here, in microseconds of arrival; infinite at its end. */
  readonly until: number;
  readonly isEnd: boolean;
}

/** Reads on until the tape ends; segments that cannot be read are holes with faults. */
export async function* play(recording: Recording, from: Position): AsyncGenerator<Stretch> {
  const numbers = recording.segmentNumbers;
  for (const [i, number] of numbers.entries()) {
    if (number < from.segment) continue;
    const t0 = recording.t0(number);
    const next = numbers[i + 1];
    const end = next === undefined ? Number.POSITIVE_INFINITY : recording.t0(next);
    const segment = await recording.segment(number);
    const ofSegment = recording.faults.filter((fault) => fault.segment === number);
    const chunks = segment?.chain.chunks ?? [];
    const placed = (fault: Fault) => ({ fault, at: t0 + (chunks[fault.chunk ?? 0]?.at ?? 0) });
    if (!segment || chunks.length === 0) {
      const covered = [
        { from: t0, until: end, isGood: segment !== null && ofSegment.length === 0 },
      ];
      const isEnd = next === undefined;
      yield { records: [], faults: ofSegment.map(placed), covered, until: end, isEnd };
      continue;
    }
    let pending = ofSegment;
    for await (const batch of segment.read(number === from.segment ? from.chunk : 0)) {
      const following = chunks[batch.until];
      // The next segment may say that it began before the last packets of this one.
      const until = following ? t0 + following.at : Math.max(end, t0 + (chunks.at(-1)?.at ?? 0));
      yield {
        records: batch.records.map((record) => ({ ...record, arrival: t0 + record.at })),
        faults: [...pending, ...batch.faults].map(placed),
        covered: coverage(segment.chain, t0, batch, [...ofSegment, ...batch.faults], until),
        until,
        isEnd: !following && next === undefined,
      };
      pending = [];
    }
  }
}

function coverage(
  chain: Chain,
  t0: number,
  batch: { readonly from: number; readonly until: number },
  faults: readonly Fault[],
  end: number,
): Covered[] {
  const out: Covered[] = [];
  for (let n = batch.from; n < batch.until; n++) {
    const isGood = !faults.some((fault) => isHit(fault, n));
    const from = t0 + (chain.chunks[n]?.at ?? 0);
    const until = n + 1 < batch.until ? t0 + (chain.chunks[n + 1]?.at ?? 0) : end;
    const last = out.at(-1);
    if (last?.isGood === isGood) out[out.length - 1] = { ...last, until };
    else out.push({ from, until, isGood });
  }
  return out;
}

/** A broken chain proves nothing from there on; a changed chunk says nothing about its neighbours. */
function isHit(fault: Fault, chunk: number): boolean {
  if (fault.chunk === null) return true;
  const isOfChunk = fault.why.startsWith('chunk-');
  return isOfChunk ? fault.chunk === chunk : chunk >= fault.chunk;
}
