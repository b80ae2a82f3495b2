/**
 * One delivery of media: from a time on, all lanes at once, as far ahead as the player allows.
 * Whatever is found on the way (faults, events, checked stretches) is told.
 */
import type { Fault } from './chain';
import type { Clocks } from './clock';
import type { TrackEntry } from './documents';
import type { Lane } from './lanes';
import type { Covered, Told } from './protocol';
import type { Recording } from './recording';
import { json, Kind, Nonsense, senderReport } from './records';
import { type Piece, TrackRemuxer } from './remux';
import { sourceOf } from './rtp';
import { play, type Stretch, type TapeRecord } from './tape';

export interface Receiver {
  readonly media: (lane: number, piece: Piece) => void;
  readonly delivered: (until: number, isAll: boolean) => void;
  readonly covered: (stretches: readonly Covered[]) => void;
  readonly fault: (fault: Fault, at: number) => void;
  readonly events: (events: readonly Told[]) => void;
  /** A track that no list knew: only while a recording is open. */
  readonly track: (track: TrackEntry) => Lane | null;
}

/** Media of a time may arrive this much later. */
const LATENESS_US = 1_000_000;

/** Said when files are made instead of something being played. */
export interface Whole {
  readonly duration: number;
  /** All tracks: the clocks of those that are not delivered matter as well. */
  readonly tracks: readonly TrackEntry[];
}

export class Delivery {
  private isCancelled = false;
  private limit: number;
  private wake: (() => void) | null = null;
  /** By track: the source of its last packet, of which its sender reports are. */
  private readonly ssrcs = new Map<number, number>();
  private readonly remuxers = new Map<
    number,
    { readonly lane: Lane; readonly track: TrackEntry; readonly remuxer: TrackRemuxer }
  >();

  constructor(
    private readonly recording: Recording,
    private readonly clocks: Clocks,
    private lanes: readonly Lane[],
    private readonly from: number,
    until: number,
    private readonly receiver: Receiver,
    private readonly whole?: Whole,
  ) {
    this.limit = until;
  }

  cancel(): void {
    this.isCancelled = true;
    this.wake?.();
  }

  extend(until: number): void {
    this.limit = Math.max(this.limit, until);
    this.wake?.();
  }

  async run(): Promise<void> {
    const videos = this.lanes
      .filter((lane) => lane.kind === 'video' && lane.playable === 'yes')
      .flatMap((lane) => lane.tracks)
      .filter((track) => track.from_us <= this.from && track.until_us > this.from)
      .map((track) => track.track);
    const position = await this.recording.start(this.from, videos);
    if (!position) {
      this.receiver.delivered(Number.POSITIVE_INFINITY, true);
      return;
    }
    for await (const stretch of play(this.recording, position)) {
      if (this.isCancelled) return;
      this.take(stretch);
      // Lets a seek that has come meanwhile in.
      await new Promise((resolve) => setTimeout(resolve, 0));
      while (!this.isCancelled && stretch.until > this.limit + LATENESS_US) {
        if (stretch.isEnd) break;
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
      }
      if (this.isCancelled) return;
    }
  }

  private take(stretch: Stretch): void {
    for (const { fault, at } of stretch.faults) this.receiver.fault(fault, at);
    this.receiver.covered(stretch.covered);
    const events: Told[] = [];
    for (const record of stretch.records) {
      try {
        this.record(record, events);
      } catch (error) {
        // One record that is nonsense inside a proven chunk does not stop the others.
        if (!(error instanceof Nonsense)) throw error;
      }
    }
    if (events.length > 0) this.receiver.events(events);
    this.hearSilence(stretch.until);
    for (const { lane, remuxer } of this.remuxers.values()) {
      for (const piece of remuxer.advance(stretch.until)) this.receiver.media(lane.id, piece);
      if (!stretch.isEnd) continue;
      for (const piece of remuxer.finish()) this.receiver.media(lane.id, piece);
    }
    this.receiver.delivered(this.givenUntil(stretch.until), stretch.isEnd);
  }

  /** Up to where nothing is missing: frames may still wait for their time or for a lost packet. */
  private givenUntil(until: number): number {
    const all = [...this.remuxers.values()].map(({ remuxer }) => remuxer.givenUntil(until));
    return Math.min(until - LATENESS_US, ...all);
  }

  /** Sound that is muted has no packets; its silence has to be made all the same. */
  private hearSilence(until: number): void {
    for (const lane of this.lanes) {
      if (lane.kind !== 'audio') continue;
      for (const track of lane.tracks) {
        if (track.from_us < until && track.until_us > this.from) this.remuxer(track.track);
      }
    }
  }

  private record(record: TapeRecord, events: Told[]): void {
    switch (record.kind) {
      case Kind.Rtp: {
        const ssrc = sourceOf(record.body);
        if (ssrc !== null) this.ssrcs.set(record.track, ssrc);
        this.remuxer(record.track)?.push(record.body, record.arrival);
        break;
      }
      case Kind.SenderReport: {
        const participant = this.trackEntry(record.track)?.participant;
        const ssrc = this.ssrcs.get(record.track);
        if (participant === undefined || ssrc === undefined) break;
        const { ntp, rtp } = senderReport(record);
        const { track, arrival } = record;
        this.clocks.report(participant, { track, ssrc, ntp, rtp, arrival });
        break;
      }
      case Kind.Track: {
        const track = json(record) as Omit<TrackEntry, 'from_us' | 'until_us'>;
        if (this.trackEntry(track.track)) break;
        const entry = { ...track, from_us: record.arrival, until_us: Number.MAX_SAFE_INTEGER };
        const lane = this.receiver.track(entry);
        if (lane) this.lanes = [...this.lanes.filter((one) => one.id !== lane.id), lane];
        break;
      }
      case Kind.Event: {
        const event = json(record) as Told;
        events.push({ ...event, at_us: record.arrival });
        break;
      }
    }
  }

  private trackEntry(number: number): TrackEntry | null {
    for (const lane of this.lanes) {
      const track = lane.tracks.find((one) => one.track === number);
      if (track) return track;
    }
    return this.whole?.tracks.find((track) => track.track === number) ?? null;
  }

  private remuxer(number: number): TrackRemuxer | null {
    const known = this.remuxers.get(number);
    if (known) return known.remuxer;
    const lane = this.lanes.find((one) => one.tracks.some((track) => track.track === number));
    const track = lane?.tracks.find((one) => one.track === number);
    if (!lane || !track || lane.playable !== 'yes') return null;
    const remuxer = new TrackRemuxer(track, this.clocks, this.from, this.whole?.duration);
    this.remuxers.set(number, { lane, track, remuxer });
    return remuxer;
  }
}
