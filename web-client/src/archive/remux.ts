/**
 * From journal records to media that a browser plays: one `TrackRemuxer` per track orders the
 * packets, makes frames of them, puts them on the recording's clock and packs them into WebM or MP4.
 * Fed in the order of the journal; `advance` says up to when everything was read.
 */
import type { Clocks } from './clock';
import { type Codec, codecOf } from './depacketize';
import type { Depacketizer, Frame } from './depacketize/frame';
import { opusDuration, SILENCE, SILENCE_US } from './depacketize/opus';
import type { TrackEntry } from './documents';
import { mp4Fragment, mp4Head } from './fmp4';
import { Order } from './order';
import { readRtp } from './rtp';
import { CLUSTER_US_MAX, type Sample, webmCluster, webmHead } from './webm';

/** How long a stretch's sender report is waited for before arrival times have to do. */
const REPORT_WAIT_US = 5_500_000;
/** Sound this long before the start is decoded with it. */
const PREROLL_US = 100_000;
/** Media may stand this much later in the journal than the time at which it is shown. */
const LATENESS_US = 1_000_000;
/** A picture that stands longer after a loss is no longer what was there. */
const LOST_US_MIN = 250_000;
/** How long a picture stands that has no successor yet: longer than keyframes are apart. */
const STANDING_US = 12_000_000;

/** What a lane's buffer takes next. */
export interface Piece {
  readonly track: number;
  /** For `SourceBuffer.changeType`. */
  readonly type: string;
  readonly head: Uint8Array | null;
  readonly body: Uint8Array;
  readonly from: number;
  readonly until: number;
  /** When each of its pictures begins; empty for sound. */
  readonly pictures: readonly number[];
  /** Where a picture stands only because its successors were lost. */
  readonly lost: readonly Lost[];
}

export interface Lost {
  readonly from: number;
  readonly until: number;
}

interface Timed {
  readonly at: number;
  readonly frame: Frame;
}

export class TrackRemuxer {
  private readonly order = new Order();
  private readonly depacketizer: Depacketizer;
  private readonly codec: Codec;
  /** Frames whose time is not settled. */
  private untimed: Frame[] = [];
  /** Pictures at or before the start, from the last keyframe on. */
  private early: Timed[] | null = [];
  /** The picture that lasts until the next one comes. */
  private held: Timed | null = null;
  private samples: Sample[] = [];
  private lost: Lost[] = [];
  private shownAt: number | null = null;
  private end: number | null = null;
  private lastAt = Number.NEGATIVE_INFINITY;
  private head: Uint8Array | null = null;
  private setup = '';
  private size: { readonly width: number; readonly height: number };
  private fragments = 0;
  private isFinished = false;
  private ready: Piece[] = [];

  /**
   * Throws for a codec that cannot be played. `from`: what ends before it is left out. `duration` is
   * given for files: they state it, and nobody waits for their next picture.
   */
  constructor(
    private readonly track: TrackEntry,
    private readonly clocks: Clocks,
    private readonly from: number,
    private readonly duration?: number,
  ) {
    const codec = codecOf(track.mime);
    if (!codec) throw new Error('not playable');
    this.codec = codec;
    this.depacketizer = codec.depacketizer(track);
    this.size = { width: track.width ?? 0, height: track.height ?? 0 };
  }

  /** One RTP packet and when it arrived. */
  push(bytes: Uint8Array, arrival: number): void {
    const packet = readRtp(bytes);
    if (!packet) return;
    for (const one of this.order.push(packet, arrival)) {
      this.untimed.push(...this.depacketizer.push(one));
    }
  }

  /** Everything that arrived before `now` was pushed: what can be played of it. */
  advance(now: number): Piece[] {
    for (const one of this.order.release(now)) this.untimed.push(...this.depacketizer.push(one));
    this.time(now);
    if (this.track.kind === 'video') this.standStill(now);
    else this.fillUpTo(Math.min(this.givenUntil(now), this.track.until_us));
    return this.pack();
  }

  /** Up to here there is nothing more to come of what arrived before `now`. */
  givenUntil(now: number): number {
    if (this.isFinished) return Number.POSITIVE_INFINITY;
    const unplaced = Math.min(this.order.waitsSince(), this.untimed[0]?.arrival ?? now);
    const early = this.early?.[0]?.at ?? Number.POSITIVE_INFINITY;
    return Math.min(now - LATENESS_US, unplaced - LATENESS_US, early, this.held?.at ?? early);
  }

  finish(): Piece[] {
    if (this.isFinished) return [];
    this.isFinished = true;
    for (const one of this.order.flush()) this.untimed.push(...this.depacketizer.push(one));
    this.time(Number.POSITIVE_INFINITY);
    this.start();
    if (this.held) {
      const { at } = this.held;
      this.release(Math.max(at + 40_000, Math.min(this.track.until_us, at + STANDING_US)));
    }
    return this.pack();
  }

  /** Gives the frames their times as soon as their stretch is settled. */
  private time(now: number): void {
    for (let first = this.untimed[0]; first; first = this.untimed[0]) {
      const { track, participant, clock_rate } = this.track;
      const clock = this.clocks.source({ track, ssrc: first.ssrc }, participant, clock_rate);
      if (!clock.isSettled(first.arrival)) {
        const isPatient = now - first.arrival < REPORT_WAIT_US;
        if (isPatient && !clock.hasReport(first.arrival)) return;
        clock.settle(this.untimed.filter((frame) => frame.ssrc === first.ssrc));
      }
      this.untimed.shift();
      const at = clock.at(first);
      if (this.track.kind === 'video') this.picture({ at, frame: first });
      else this.sound({ at, frame: first });
    }
  }

  private picture(timed: Timed): void {
    const at = Math.max(timed.at, this.lastAt + 1_000);
    this.lastAt = at;
    const one = { at, frame: timed.frame };
    if (this.early) {
      if (at <= this.from) {
        this.early = timed.frame.isKey ? [one] : [...this.early, one];
        return;
      }
      this.start();
    }
    this.show(one);
  }

  /** From here on pictures are after the start. */
  private start(): void {
    const early = this.early ?? [];
    this.early = null;
    for (const one of early) this.show(one);
  }

  private show(one: Timed): void {
    this.release(one.at);
    if (one.frame.isAfterBreak && this.shownAt !== null && one.at - this.shownAt > LOST_US_MIN) {
      this.lost.push({ from: this.shownAt + LOST_US_MIN, until: one.at });
    }
    this.shownAt = one.at;
    this.held = one;
  }

  /** The held picture lasted until `until`. */
  private release(until: number): void {
    if (!this.held) return;
    const { at, frame } = this.held;
    this.held = null;
    this.add({ at, duration: until - at, isKey: frame.isKey, bytes: frame.bytes }, frame);
  }

  /** A still picture, as of a screen, has to be shown though its successor is far away. */
  private standStill(now: number): void {
    if (this.early && now > this.from + LATENESS_US) this.start();
    if (this.duration !== undefined || !this.held) return;
    if (now - this.held.at > LATENESS_US + 500_000) {
      this.release(this.held.at + STANDING_US);
    }
  }

  private sound({ at, frame }: Timed): void {
    const duration = opusDuration(frame.bytes) || SILENCE_US;
    if (at + duration < this.from - PREROLL_US) return;
    const end = this.end ?? this.soundFrom();
    // What comes after its time was filled, or twice, is not heard again.
    if (this.end !== null && at < end - duration) return;
    if (at - end >= SILENCE_US) this.fillUpTo(at);
    // Packet follows packet; where that has drifted a packet away from the clock, the clock rules.
    const start = this.end !== null && Math.abs(at - this.end) < SILENCE_US ? this.end : at;
    this.add({ at: start, duration, isKey: true, bytes: frame.bytes }, frame);
    this.end = start + duration;
  }

  private soundFrom(): number {
    return Math.max(this.from, this.track.from_us);
  }

  /** Silence where nothing was sent: a player would stop at a hole. */
  private fillUpTo(until: number): void {
    if (this.track.kind !== 'audio') return;
    let end = this.end ?? this.soundFrom();
    for (; until - end >= SILENCE_US; end += SILENCE_US) {
      this.add({ at: end, duration: SILENCE_US, isKey: true, bytes: SILENCE }, null);
    }
    this.end = end;
  }

  private add(sample: Sample, frame: Frame | null): void {
    const setup = frame?.setup;
    const isNewSetup = setup !== undefined && String(setup) !== this.setup;
    if (this.head === null && !this.setup) this.renew(frame);
    else if (isNewSetup) this.renew(frame);
    this.samples.push(sample);
  }

  /** A new head: at the beginning and where the decoder must be set up anew. */
  private renew(frame: Frame | null): void {
    this.flush();
    if (frame?.size) this.size = frame.size;
    this.setup = frame?.setup ? String(frame.setup) : 'none';
    this.head =
      this.codec.matroska === null
        ? mp4Head({ ...this.filled(), setup: frame?.setup ?? new Uint8Array(0) })
        : webmHead(
            {
              codec: this.codec.matroska,
              kind: this.track.kind,
              ...this.filled(),
              ...(this.track.channels ? { channels: this.track.channels } : {}),
              ...(frame?.setup ? { setup: frame.setup } : {}),
            },
            this.duration,
          );
  }

  /** Players take the true size from the pictures, but refuse none. */
  private filled(): { width: number; height: number } {
    return { width: this.size.width || 640, height: this.size.height || 360 };
  }

  private pack(): Piece[] {
    this.flush();
    const out = this.ready;
    this.ready = [];
    return out;
  }

  private flush(): void {
    let rest = this.samples;
    this.samples = [];
    while (rest.length > 0) {
      const base = rest[0]?.at ?? 0;
      const beyond = rest.findIndex((sample) => sample.at - base > CLUSTER_US_MAX);
      const now = beyond < 0 ? rest : rest.slice(0, beyond);
      rest = beyond < 0 ? [] : rest.slice(beyond);
      const last = now.at(-1);
      this.fragments += 1;
      this.ready.push({
        track: this.track.track,
        type: this.codec.type,
        head: this.head,
        body: this.codec.matroska === null ? mp4Fragment(this.fragments, now) : webmCluster(now),
        from: base,
        until: last ? last.at + last.duration : base,
        pictures: this.track.kind === 'video' ? now.map((sample) => sample.at) : [],
        lost: this.lost,
      });
      this.head = null;
      this.lost = [];
    }
  }
}
