import { describe, expect, it } from 'vitest';
import { merged, share } from './coverage';

const good = (from: number, until: number) => ({
  from: from * 1e6,
  until: until * 1e6,
  isGood: true,
});
const bad = (from: number, until: number) => ({ ...good(from, until), isGood: false });

describe('what was checked of a recording', () => {
  it('grows together as it is read', () => {
    const covered = merged([good(0, 10), good(20, 30)], [good(10, 20)], 60e6);
    expect(covered).toEqual([good(0, 30)]);
    expect(share(covered, 60e6)).toBe(0.5);
  });

  it('keeps what is bad bad, whatever is read again', () => {
    const covered = merged([good(0, 10), bad(4, 5)], [good(3, 8)], 60e6);
    expect(covered).toEqual([good(0, 4), bad(4, 5), good(5, 10)]);
  });

  it('ends where the recording ends', () => {
    const last = { from: 50e6, until: Number.POSITIVE_INFINITY, isGood: true };
    expect(merged([], [last], 60e6)).toEqual([good(50, 60)]);
  });
});
