/** Plays two short soft tones, so that somebody can tell whether they will hear the consult. */

/** Chromium can choose where an audio context plays; TypeScript's DOM library does not know it yet. */
type Routable = AudioContext & { setSinkId?: (id: string) => Promise<void> };

export async function playChime(speaker: string | undefined): Promise<void> {
  const context: Routable = new AudioContext();
  if (speaker && context.setSinkId) await context.setSinkId(speaker).catch(() => {});
  const begin = context.currentTime + 0.05;
  for (const [step, frequency] of [523.25, 783.99].entries()) {
    const at = begin + step * 0.3;
    const tone = new OscillatorNode(context, { frequency });
    const volume = new GainNode(context, { gain: 0 });
    volume.gain.setValueAtTime(0, at);
    volume.gain.linearRampToValueAtTime(0.25, at + 0.03);
    volume.gain.exponentialRampToValueAtTime(0.001, at + 0.5);
    tone.connect(volume).connect(context.destination);
    tone.start(at);
    tone.stop(at + 0.5);
  }
  setTimeout(() => void context.close(), 1_500);
}
