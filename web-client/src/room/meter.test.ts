import { describe, expect, it } from 'vitest';
import { levelOf } from './meter';
import { SPEECH_LEVEL } from './safety';

const sine = (amplitude: number) =>
  Float32Array.from({ length: 2048 }, (_, n) => amplitude * Math.sin((n * Math.PI) / 32));

describe('the level of a microphone', () => {
  it('is nothing in silence and without samples', () => {
    expect(levelOf(new Float32Array(2048))).toBe(0);
    expect(levelOf(new Float32Array(0))).toBe(0);
  });

  it('falls by the same step for every halving of the amplitude', () => {
    const [one, half, quarter] = [sine(0.8), sine(0.4), sine(0.2)].map(levelOf) as [
      number,
      number,
      number,
    ];
    expect(one - half).toBeCloseTo(6.02 / 60, 3);
    expect(half - quarter).toBeCloseTo(6.02 / 60, 3);
  });

  it('stays between nothing and one', () => {
    expect(levelOf(new Float32Array(16).fill(2))).toBe(1);
    expect(levelOf(sine(1e-6))).toBe(0);
  });

  it('of calm speech counts as speech, of a quiet room does not', () => {
    expect(levelOf(sine(0.05))).toBeGreaterThan(SPEECH_LEVEL);
    expect(levelOf(sine(0.005))).toBeLessThan(SPEECH_LEVEL);
  });
});
