/** What of a recording was read and proven: stretches merged, a bad one never forgotten. Pure. */
import type { Covered } from '../../archive/protocol';

export function merged(
  before: readonly Covered[],
  news: readonly Covered[],
  duration: number,
): Covered[] {
  const bad = union(
    [...before, ...news].filter((one) => !one.isGood),
    duration,
  );
  const good = union(
    [...before, ...news].filter((one) => one.isGood),
    duration,
  );
  return [
    ...without(good, bad).map((one) => ({ ...one, isGood: true })),
    ...bad.map((one) => ({ ...one, isGood: false })),
  ].sort((a, b) => a.from - b.from);
}

/** From 0 to 1. */
export function share(covered: readonly Covered[], duration: number): number {
  const read = covered.reduce((sum, one) => sum + one.until - one.from, 0);
  return duration > 0 ? Math.min(1, read / duration) : 0;
}

interface Span {
  readonly from: number;
  readonly until: number;
}

function union(spans: readonly Span[], duration: number): Span[] {
  const out: Array<{ from: number; until: number }> = [];
  for (const one of [...spans].sort((a, b) => a.from - b.from)) {
    const until = Math.min(one.until, duration);
    if (until <= one.from) continue;
    const last = out.at(-1);
    if (last && one.from <= last.until + TOUCH_US) last.until = Math.max(last.until, until);
    else out.push({ from: one.from, until });
  }
  return out;
}

function without(spans: readonly Span[], holes: readonly Span[]): Span[] {
  return holes.reduce<Span[]>(
    (left, hole) =>
      left.flatMap((one) => {
        if (hole.until <= one.from || hole.from >= one.until) return [one];
        return [
          { from: one.from, until: hole.from },
          { from: hole.until, until: one.until },
        ].filter((part) => part.until > part.from);
      }),
    [...spans],
  );
}

/** Chunks follow each other; their times may miss each other by the time between two packets. */
const TOUCH_US = 100_000;
