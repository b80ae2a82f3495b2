import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Player } from './player';

/** A player without lanes: the clock and the account of what was watched are all that is left. */
function player() {
  const one: Player = new Player([], 60e6, {
    play: (_, delivery) =>
      queueMicrotask(() => one.take({ news: 'delivered', delivery, until: 60e6, isAll: true })),
    ahead: () => {},
  });
  return one;
}

const seconds = (ranges: ReadonlyArray<readonly [number, number]>) =>
  ranges.map(([from, until]) => [Math.round(from / 1e5) / 10, Math.round(until / 1e5) / 10]);

describe('what was watched', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is what was played, pauses and seeks left out', async () => {
    const one = player();
    one.seek(0);
    await vi.advanceTimersByTimeAsync(1_000);
    one.play();
    await vi.advanceTimersByTimeAsync(4_000);
    one.pause();
    await vi.advanceTimersByTimeAsync(9_000);
    expect(seconds(one.takePlayed())).toEqual([[0, 4]]);
    one.play();
    await vi.advanceTimersByTimeAsync(2_000);
    one.seek(30e6);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(seconds(one.takePlayed())).toEqual([
      [4, 6],
      [30, 33],
    ]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(seconds(one.takePlayed())).toEqual([[33, 34]]);
    one.close();
  });

  it('is counted in seconds of the recording at any speed', async () => {
    const one = player();
    one.seek(0);
    await vi.advanceTimersByTimeAsync(1_000);
    one.play();
    await vi.advanceTimersByTimeAsync(2_000);
    one.setSpeed(4);
    await vi.advanceTimersByTimeAsync(2_000);
    one.pause();
    expect(seconds(one.takePlayed())).toEqual([[0, 10]]);
    expect(one.takePlayed()).toEqual([]);
    one.close();
  });
});
