import { describe, expect, it } from 'vitest';
import {
  FROZEN_CAMERA_MS,
  FROZEN_SCREEN_MS,
  frozenFor,
  hearMuted,
  listen,
  type MutedSpeech,
  type Picture,
  QUIET,
  SPEECH_LEVEL,
  shouldHint,
  unheard,
  type Voice,
  type VoiceSample,
  watch,
} from './safety';

/** Plays one sample a second and returns the verdict after each. */
function playVoice(samples: ReadonlyArray<Omit<VoiceSample, 'at'>>) {
  let voice: Voice | undefined;
  return samples.map((sample, second) => {
    voice = listen(voice, { ...sample, at: second * 1000 });
    return unheard(voice, second * 1000);
  });
}

const talking = (second: number) => ({
  isMuted: false,
  packets: 50 * (second + 1),
  energy: second + 1,
  isSpeaking: true,
});
const seconds = (count: number) => Array.from({ length: count }, (_, second) => second);

describe('somebody who talks', () => {
  it('is heard', () => {
    expect(new Set(playVoice(seconds(30).map(talking)))).toEqual(new Set([null]));
  });

  it('is missed when packets have stopped for three seconds', () => {
    const last = talking(4);
    const samples = [...seconds(5).map(talking), last, last, last, last];
    expect(playVoice(samples).slice(4)).toEqual([null, null, null, null, 'no-packets']);
  });

  it('is missed when a microphone is announced and never arrives', () => {
    const absent = { isMuted: false, packets: null, energy: 0, isSpeaking: false };
    expect(playVoice(Array(4).fill(absent))).toEqual([null, null, null, 'no-packets']);
  });

  it('is missed when a track is there and no packet ever came', () => {
    const empty = { isMuted: false, packets: 0, energy: 0, isSpeaking: false };
    expect(playVoice(Array(4).fill(empty)).at(-1)).toBe('no-packets');
  });

  it('is heard again with the first packet', () => {
    const gone = { isMuted: false, packets: 100, energy: 1, isSpeaking: false };
    const back = { ...gone, packets: 101 };
    expect(playVoice([gone, gone, gone, gone, gone, back]).slice(-2)).toEqual(['no-packets', null]);
  });

  it('is heard when a new track counts from the beginning', () => {
    const samples = [talking(60), talking(61), talking(0), talking(1)];
    expect(playVoice(samples)).toEqual([null, null, null, null]);
  });

  it('is missed when packets carry no sound for ten seconds of speech', () => {
    const hollow = (second: number) => ({ ...talking(second), energy: 0 });
    const verdicts = playVoice(seconds(11).map(hollow));
    expect(verdicts.slice(0, 10).every((verdict) => verdict === null)).toBe(true);
    expect(verdicts[10]).toBe('silent');
  });

  it('is not missed for ten silent seconds in which nobody says that they speak', () => {
    const listening = (second: number) => ({ ...talking(second), energy: 0, isSpeaking: false });
    expect(new Set(playVoice(seconds(20).map(listening)))).toEqual(new Set([null]));
  });
});

describe('somebody who is muted', () => {
  const muted = { isMuted: true, packets: 100, energy: 1, isSpeaking: false };

  it('is never missed', () => {
    expect(new Set(playVoice(Array(20).fill(muted)))).toEqual(new Set([null]));
  });

  it('has three seconds to be heard after unmuting', () => {
    const open = { ...muted, isMuted: false };
    const verdicts = playVoice([muted, muted, muted, muted, muted, open, open, open, open]);
    expect(verdicts.slice(5)).toEqual([null, null, null, 'no-packets']);
  });
});

function playPicture(frames: ReadonlyArray<number | 'paused'>, limit = FROZEN_CAMERA_MS) {
  let picture: Picture | undefined;
  let count = 0;
  return frames.map((frame, second) => {
    if (frame !== 'paused') count = frame;
    const at = second * 1000;
    picture = watch(picture, { at, frames: count, isExpected: frame !== 'paused' });
    return frozenFor(picture, limit, at);
  });
}

describe('a picture', () => {
  it('that moves is not frozen', () => {
    expect(playPicture([15, 30, 45, 60])).toEqual([null, null, null, null]);
  });

  it('that stands still for more than two seconds says for how long', () => {
    expect(playPicture([15, 30, 30, 30, 30, 30])).toEqual([null, null, null, null, 3, 4]);
  });

  it('of a screen is given longer, because a still screen is rarely sent', () => {
    const still = [5, 6, 6, 6, 6, 6, 6];
    expect(playPicture(still, FROZEN_SCREEN_MS)).toEqual([null, null, null, null, null, null, 5]);
  });

  it('moves again with the first new frame', () => {
    expect(playPicture([15, 15, 15, 15, 16])).toEqual([null, null, null, 3, null]);
  });

  it('that nobody sends is not frozen, and has its time when it returns', () => {
    const frames = [15, 'paused', 'paused', 'paused', 'paused', 15, 15, 15, 15] as const;
    expect(playPicture(frames)).toEqual([null, null, null, null, null, null, null, null, 3]);
  });
});

describe('speech into a muted microphone', () => {
  const STEP = 100;
  function speak(levels: readonly number[], from: MutedSpeech = QUIET) {
    let speech = from;
    levels.forEach((level, step) => {
      speech = hearMuted(speech, level, 1_000 + step * STEP);
    });
    return { speech, end: 1_000 + (levels.length - 1) * STEP };
  }

  it('brings a hint after half a second', () => {
    const { speech, end } = speak(Array(6).fill(SPEECH_LEVEL));
    expect(shouldHint(speech, end)).toBe(true);
  });

  it('shorter than that does not', () => {
    const { speech, end } = speak([...Array(5).fill(0.9), 0]);
    expect(shouldHint(speech, end)).toBe(false);
  });

  it('below the level of speech does not, however long', () => {
    const { speech, end } = speak(Array(100).fill(SPEECH_LEVEL - 0.01));
    expect(shouldHint(speech, end)).toBe(false);
  });

  it('keeps the hint readable for five seconds and no longer', () => {
    const { speech, end } = speak([...Array(6).fill(0.5), 0]);
    expect(shouldHint(speech, end + 4_800)).toBe(true);
    expect(shouldHint(speech, end + 5_000)).toBe(false);
  });
});
