/**
 * Media elements and buffers that do what a test says and when, in place of the browser's: buffers
 * take a piece only when they are let, and pictures come onto the screen one by one.
 */
import { vi } from 'vitest';
import type { Lane } from '../lanes';
import type { Piece } from '../remux';

type Look = (now: number, frame: { readonly mediaTime: number }) => void;

/** What was made since the doubles were put in place. */
export class Stagehand {
  readonly videos: FakeVideo[] = [];
  readonly sources: FakeSource[] = [];

  constructor() {
    const { videos, sources } = this;
    vi.stubGlobal('HTMLMediaElement', { HAVE_CURRENT_DATA: 2 });
    vi.stubGlobal('HTMLVideoElement', FakeVideo);
    vi.stubGlobal('document', {
      hidden: false,
      createElement: () => {
        const video = new FakeVideo();
        videos.push(video);
        return video;
      },
    });
    vi.stubGlobal(
      'MediaSource',
      class extends FakeSource {
        constructor() {
          super();
          sources.push(this);
        }
      },
    );
    vi.stubGlobal('URL', { createObjectURL: () => 'blob:', revokeObjectURL: () => {} });
  }
}

export class FakeVideo {
  readonly dataset: { [name: string]: string } = {};
  readonly style = {};
  seeking = false;
  readyState = 2;
  paused = true;
  muted = false;
  playbackRate = 1;
  isVisible = true;
  private time = 0;
  private looks: Look[] = [];

  get currentTime(): number {
    return this.time;
  }

  set currentTime(seconds: number) {
    this.time = seconds;
    this.seeking = true;
  }

  /** The browser has found the place and decoded what is there. */
  find(): void {
    this.seeking = false;
  }

  /** A picture comes onto the screen. */
  present(mediaTime: number): void {
    const looks = this.looks;
    this.looks = [];
    for (const look of looks) look(0, { mediaTime });
  }

  requestVideoFrameCallback(look: Look): void {
    this.looks.push(look);
  }

  checkVisibility(): boolean {
    return this.isVisible;
  }

  pause(): void {
    this.paused = true;
  }

  async play(): Promise<void> {
    this.paused = false;
  }

  load(): void {}
  remove(): void {}
  removeAttribute(): void {}
}

export class FakeSource extends EventTarget {
  readyState = 'open';
  duration = 0;
  readonly buffers: FakeBuffer[] = [];

  endOfStream(): void {
    this.readyState = 'ended';
  }

  addSourceBuffer(): FakeBuffer {
    const buffer = new FakeBuffer(() => {
      this.readyState = 'open';
    });
    this.buffers.push(buffer);
    return buffer;
  }
}

class FakeBuffer extends EventTarget {
  updating = false;

  constructor(private readonly open: () => void) {
    super();
  }

  private ranges: Array<readonly [number, number]> = [];
  private next: readonly [number, number] | null = null;

  get buffered() {
    return {
      length: this.ranges.length,
      start: (i: number) => this.ranges[i]?.[0] ?? 0,
      end: (i: number) => this.ranges[i]?.[1] ?? 0,
    };
  }

  appendBuffer(bytes: Uint8Array): void {
    const [from = 0, until = 0] = bytes;
    this.next = [from, until];
    this.updating = true;
    this.open();
  }

  /** The browser has taken what was appended. */
  take(): void {
    if (this.next) this.ranges.push(this.next);
    this.next = null;
    this.updating = false;
    this.dispatchEvent(new Event('updateend'));
  }

  remove(): void {
    this.ranges = [];
    this.updating = true;
    this.open();
    queueMicrotask(() => this.take());
  }

  abort(): void {}
  changeType(): void {}
}

/** A camera that is there for a minute. */
export const CAMERA: Lane = {
  id: 0,
  person: 1,
  kind: 'video',
  medium: 'camera',
  playable: 'yes',
  tracks: [
    {
      track: 2,
      participant: 1,
      kind: 'video',
      source: 'camera',
      mime: 'video/VP8',
      clock_rate: 90_000,
      from_us: 0,
      until_us: 60e6,
      expected: 0,
      stored: 0,
      lost: 0,
    },
  ],
};

/** Whole seconds of pictures, ten in each, that the double of a buffer understands. */
export function pictures(from: number, until: number): Piece {
  return {
    track: 2,
    type: 'video/webm',
    head: null,
    body: Uint8Array.of(from, until),
    from: from * 1e6,
    until: until * 1e6,
    pictures: Array.from({ length: (until - from) * 10 }, (_, n) => from * 1e6 + n * 1e5),
    lost: [],
  };
}
