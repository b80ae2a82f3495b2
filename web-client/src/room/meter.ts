/**
 * Measures how loud a microphone is: ten times a second a level from 0 (silence) to 1 (full scale),
 * linear in decibels between -60 and 0 dBFS, which is how loudness looks right on a meter.
 */

const FLOOR_DB = 60;
const PERIOD_MS = 100;

/** Level of one block of samples. */
export function levelOf(samples: Float32Array): number {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const rms = Math.sqrt(sum / Math.max(1, samples.length));
  if (rms <= 0) return 0;
  return Math.min(1, Math.max(0, 1 + (20 * Math.log10(rms)) / FLOOR_DB));
}

export class LevelMeter {
  readonly #context = new AudioContext();
  readonly #track: MediaStreamTrack;
  readonly #timer: ReturnType<typeof setInterval>;

  /** Listens to a clone of `track`, so it hears a microphone that is muted in the consult. */
  constructor(track: MediaStreamTrack, onLevel: (level: number) => void) {
    this.#track = track.clone();
    this.#track.enabled = true;
    const analyser = this.#context.createAnalyser();
    analyser.fftSize = 2048;
    this.#context.createMediaStreamSource(new MediaStream([this.#track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.#timer = setInterval(() => {
      // Suspended until the page was touched, in browsers that ask for it even while capturing.
      if (this.#context.state === 'suspended') this.#context.resume().catch(() => {});
      analyser.getFloatTimeDomainData(samples);
      onLevel(levelOf(samples));
    }, PERIOD_MS);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#track.stop();
    this.#context.close().catch(() => {});
  }
}
