import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Player } from './player';
import type { Piece } from './remux';
import { CAMERA, pictures, Stagehand } from './testing/elements';

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

describe('a seek', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  /** A player of one camera that was just sought to a place. */
  function sought(at: number) {
    const stage = new Stagehand();
    let delivery = 0;
    const play = (_: number, number: number) => {
      delivery = number;
    };
    const one = new Player([CAMERA], 60e6, { play, ahead: () => {} });
    one.seek(at * 1e6);
    const [video] = stage.videos;
    if (!video) throw new Error('the camera has an element');
    return {
      one,
      video,
      /** Pictures come from the worker, and it says how far they go. */
      deliver: (piece: Piece | null, until: number) => {
        if (piece) one.take({ news: 'media', delivery, lane: 0, piece });
        one.take({ news: 'delivered', delivery, until: until * 1e6, isAll: false });
      },
      /** The browser takes them into its buffer, in its own time. */
      buffer: () => stage.sources[0]?.buffers[0]?.take(),
      source: () => stage.sources[0],
      isSettled: async () => {
        await vi.advanceTimersByTimeAsync(200);
        return one.current().isSettled;
      },
      missing: () => one.current().missing.get(0),
    };
  }

  it('is not over before the browser has taken what was delivered', async () => {
    const { one, video, deliver, buffer, isSettled, missing } = sought(30);
    deliver(pictures(28, 40), 40);
    expect(await isSettled()).toBe(false);
    buffer();
    expect(await isSettled()).toBe(false);
    video.find();
    video.present(30);
    expect(await isSettled()).toBe(true);
    expect(missing()).toBeUndefined();
    one.close();
  });

  it('is not over because the media was long in coming', async () => {
    const { one, video, deliver, buffer, isSettled, missing } = sought(30);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(one.current().isSettled).toBe(false);
    deliver(pictures(28, 40), 40);
    buffer();
    expect(await isSettled()).toBe(false);
    video.find();
    await vi.advanceTimersByTimeAsync(300);
    expect(await isSettled()).toBe(false);
    video.present(30);
    expect(await isSettled()).toBe(true);
    expect(missing()).toBeUndefined();
    one.close();
  });

  it('is not over when a picture of another time comes up', async () => {
    const { one, video, deliver, buffer, isSettled } = sought(30.25);
    deliver(pictures(28, 40), 40);
    buffer();
    await isSettled();
    video.present(29.9);
    video.find();
    video.present(30.1);
    expect(await isSettled()).toBe(false);
    // The browser would keep it: where the right one begins there is no doubt.
    await vi.advanceTimersByTimeAsync(200);
    expect(video.currentTime).toBeCloseTo(30.202);
    video.present(30.2);
    video.find();
    expect(await isSettled()).toBe(true);
    // From there on it plays from the time that was sought.
    one.play();
    await vi.advanceTimersByTimeAsync(40);
    expect(video.currentTime).toBeGreaterThanOrEqual(30.25);
    one.close();
  });

  it('is over when the picture came up before the browser said so', async () => {
    const { one, video, deliver, buffer, isSettled, missing } = sought(30.25);
    deliver(pictures(28, 40), 40);
    buffer();
    await isSettled();
    video.present(30.2);
    expect(await isSettled()).toBe(false);
    video.find();
    expect(await isSettled()).toBe(true);
    expect(missing()).toBeUndefined();
    one.close();
  });

  it('ends with words where there is no picture', async () => {
    const { one, deliver, buffer, isSettled, missing } = sought(30);
    deliver(pictures(34, 40), 29);
    expect(await isSettled()).toBe(false);
    deliver(null, 40);
    expect(await isSettled()).toBe(false);
    buffer();
    expect(await isSettled()).toBe(true);
    expect(missing()).toBe('nothing');
    one.close();
  });

  it('does not wait for ever for a picture, says so, and shows it when it comes', async () => {
    const { one, video, deliver, buffer, missing } = sought(30);
    deliver(pictures(28, 40), 40);
    buffer();
    await vi.advanceTimersByTimeAsync(4_000);
    expect(one.current().isSettled).toBe(true);
    expect(missing()).toBe('late');
    video.find();
    video.present(30);
    await vi.advanceTimersByTimeAsync(200);
    expect(missing()).toBeUndefined();
    one.close();
  });

  it('is not held up where there are few pictures', async () => {
    const { one, video, deliver, buffer, isSettled, missing, source } = sought(30);
    deliver(pictures(28, 40), 40);
    buffer();
    expect(await isSettled()).toBe(false);
    expect(source()?.readyState).toBe('open');
    await vi.advanceTimersByTimeAsync(600);
    expect(source()?.readyState).toBe('ended');
    video.find();
    video.present(30);
    expect(await isSettled()).toBe(true);
    expect(missing()).toBeUndefined();
    // More comes, and is played although the browser believed that there was none.
    deliver(pictures(40, 50), 50);
    buffer();
    expect(source()?.readyState).toBe('open');
    one.play();
    await vi.advanceTimersByTimeAsync(3_000);
    expect(video.currentTime).toBeGreaterThan(30.1);
    one.close();
  });

  it('is held up even less where the last pictures are', async () => {
    const { one, video, deliver, buffer, isSettled, source } = sought(30.5);
    deliver(pictures(28, 31), 40);
    buffer();
    await vi.advanceTimersByTimeAsync(280);
    expect(source()?.readyState).toBe('ended');
    video.find();
    video.present(30.5);
    expect(await isSettled()).toBe(true);
    one.close();
  });

  it('brings a late picture to the clock that went on without it', async () => {
    const { one, video, deliver, buffer, missing } = sought(30);
    deliver(pictures(28, 50), 50);
    buffer();
    one.play();
    await vi.advanceTimersByTimeAsync(6_000);
    expect(missing()).toBe('late');
    expect(one.position()).toBeGreaterThan(31e6);
    video.find();
    video.present(30);
    await vi.advanceTimersByTimeAsync(200);
    expect(video.currentTime).toBeGreaterThan(31);
    expect(missing()).toBeUndefined();
    expect(video.seeking).toBe(true);
    one.close();
  });

  it('does not wait for what nobody can see', async () => {
    const { one, video, deliver, buffer, isSettled } = sought(30);
    video.isVisible = false;
    deliver(pictures(28, 40), 40);
    buffer();
    await isSettled();
    video.find();
    expect(await isSettled()).toBe(true);
    one.close();
  });
});
