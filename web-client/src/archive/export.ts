/**
 * Takes chosen tracks out of a recording as files that any player opens: one per track, all on the
 * recording's clock, so that they line up. Reads the whole tape once and proves it on the way.
 */
import type { Clocks } from './clock';
import { Delivery, type Receiver } from './delivery';
import { codecOf } from './depacketize';
import type { TrackEntry } from './documents';
import type { Lane } from './lanes';
import type { Exported } from './protocol';
import type { Recording } from './recording';

/** Pieces are handed to the browser's blob store in lumps, so that they need not stay in memory. */
const LUMP_BYTES = 8 << 20;

export interface Watcher extends Pick<Receiver, 'fault' | 'covered' | 'events'> {
  /** From 0 to 1. */
  readonly progress: (share: number) => void;
}

export async function exportTracks(
  recording: Recording,
  clocks: Clocks,
  all: readonly TrackEntry[],
  wanted: readonly TrackEntry[],
  duration: number,
  watcher: Watcher,
): Promise<Exported> {
  const lanes: Lane[] = wanted
    .filter((track) => codecOf(track.mime) && !track.encrypted)
    .map((track) => ({
      id: track.track,
      person: track.participant,
      kind: track.kind,
      medium: 'other',
      tracks: [track],
      playable: 'yes',
    }));
  const files = new Map(lanes.map((lane) => [lane.id, new Lumps()]));
  const delivery = new Delivery(
    recording,
    clocks,
    lanes,
    0,
    Number.POSITIVE_INFINITY,
    {
      ...watcher,
      media(lane, piece) {
        const file = files.get(lane);
        if (piece.head) file?.add(piece.head);
        file?.add(piece.body);
      },
      delivered: (until) => watcher.progress(Math.min(1, until / Math.max(1, duration))),
      track: () => null,
    },
    { duration, tracks: all },
  );
  await delivery.run();
  return {
    files: wanted.flatMap((track) => {
      const codec = codecOf(track.mime);
      const blob = codec && files.get(track.track)?.blob(codec.type.split(';')[0] ?? '');
      const name = `${recording.id}-track-${track.track}-${track.source}.${codec?.extension}`;
      return blob ? [{ name, blob }] : [];
    }),
  };
}

class Lumps {
  private blobs: Blob[] = [];
  private parts: Uint8Array<ArrayBuffer>[] = [];
  private size = 0;

  add(bytes: Uint8Array): void {
    this.parts.push(bytes as Uint8Array<ArrayBuffer>);
    this.size += bytes.length;
    if (this.size >= LUMP_BYTES) this.settle();
  }

  blob(type: string): Blob {
    this.settle();
    return new Blob(this.blobs, { type });
  }

  private settle(): void {
    if (this.parts.length > 0) this.blobs.push(new Blob(this.parts));
    this.parts = [];
    this.size = 0;
  }
}
