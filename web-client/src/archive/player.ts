/**
 * Plays all lanes of a recording on one clock. Every lane has a media element and a MediaSource of
 * its own, so a hole in one stops no other.
 *
 * The rules were learned by failing: a drift is corrected by a slightly different speed and never by
 * seeking, which would only throw away what is decoded; the clock stands still while a playing lane
 * lags; an element that waits where there is no media is never waited for, and never sought twice.
 */
import { LanePlayer } from './lane-player';
import { type Lane, trackAt } from './lanes';
import type { News } from './protocol';

const TICK_MS = 40;
/** Media asked for beyond what is playing, at speed one. */
const AHEAD_US = 10_000_000;
/** The clock freezes when a lane lags more than this, and runs again below the second. */
const LAG_MAX_S = 0.15;
const LAG_GOOD_S = 0.08;
/** The frozen clock goes on after so long: a lane that cannot be decoded must not stop the rest. */
const FREEZE_MS_MAX = 2_500;

export const SPEEDS = [0.5, 0.75, 1, 1.5, 2, 3, 4] as const;

/** There is no picture of this time, or it is late. */
export type Missing = 'nothing' | 'late';

export interface PlayerState {
  /** Microseconds since the recording's start. */
  readonly position: number;
  readonly isPlaying: boolean;
  readonly speed: number;
  /** The clock stands still because media is missing or late. */
  readonly isWaiting: boolean;
  /** After a seek: every lane that has media there shows it, or is among the `missing`. */
  readonly isSettled: boolean;
  /** By lane, why the picture of this time is not on the screen. */
  readonly missing: ReadonlyMap<number, Missing>;
}

export interface Deliverer {
  readonly play: (from: number, delivery: number) => void;
  readonly ahead: (until: number) => void;
}

export class Player {
  readonly lanes = new Map<number, LanePlayer>();
  private base = 0;
  private since = 0;
  private isRunning = false;
  private isPlaying = false;
  private speed = 1;
  private delivery = 0;
  private deliveredFrom = 0;
  private delivered = 0;
  private frozenSince: number | null = null;
  private isSettled = false;
  private missing: ReadonlyMap<number, Missing> = new Map();
  private timer: ReturnType<typeof setInterval>;
  private readonly listeners = new Set<() => void>();
  private state: PlayerState;
  /** What was really played since it was last taken, in microseconds. */
  private played: Array<[number, number]> = [];
  private playedFrom: number | null = null;
  private readonly muted = new Set<number>();
  private readonly solo = new Set<number>();

  constructor(
    private all: readonly Lane[],
    readonly duration: number,
    private readonly deliverer: Deliverer,
  ) {
    this.setLanes(all);
    this.timer = setInterval(() => this.tick(), TICK_MS);
    this.state = this.snapshot();
  }

  /** Lanes may be added while an open recording is read. */
  setLanes(all: readonly Lane[]): void {
    this.all = all;
    for (const lane of all) {
      const known = this.lanes.get(lane.id);
      if (known) known.lane = lane;
      else if (lane.playable === 'yes')
        this.lanes.set(lane.id, new LanePlayer(lane, this.duration));
    }
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  current = (): PlayerState => this.state;

  play(): void {
    if (this.position() >= this.duration) this.seek(0);
    this.isPlaying = true;
    this.tick();
  }

  pause(): void {
    this.stopClock();
    this.isPlaying = false;
    for (const lane of this.lanes.values()) lane.pause();
    this.tick();
  }

  setSpeed(speed: number): void {
    const wasRunning = this.isRunning;
    this.stopClock();
    this.speed = speed;
    if (wasRunning) this.startClock();
    this.deliverer.ahead(this.position() + AHEAD_US * Math.max(1, this.speed));
    this.tick();
  }

  seek(to: number): void {
    this.stopClock();
    this.base = Math.max(0, Math.min(this.duration, to));
    this.isSettled = false;
    this.frozenSince = null;
    if (this.has(this.base)) {
      for (const lane of this.lanes.values()) lane.goTo(this.base / 1e6);
    } else {
      this.delivery += 1;
      this.deliveredFrom = this.base;
      this.delivered = this.base;
      for (const lane of this.lanes.values()) lane.clear(this.base / 1e6);
      this.deliverer.play(this.base, this.delivery);
    }
    this.tick();
  }

  /** What the worker delivers. */
  take(news: News): void {
    if (news.news === 'media' && news.delivery === this.delivery) {
      this.lanes.get(news.lane)?.append(news.piece);
    }
    if (news.news === 'delivered' && news.delivery === this.delivery) {
      this.delivered = news.isAll ? Number.POSITIVE_INFINITY : Math.max(this.delivered, news.until);
    }
  }

  /** Mutes or hides a lane, or shows only the lanes that are solo. */
  toggle(what: 'muted' | 'solo', lane: number): void {
    const set = what === 'muted' ? this.muted : this.solo;
    if (!set.delete(lane)) set.add(lane);
    for (const one of this.lanes.values()) one.setMuted(!this.isOn(one.lane));
    this.tell();
  }

  isMuted(lane: number): boolean {
    return this.muted.has(lane);
  }

  isSolo(lane: number): boolean {
    return this.solo.has(lane);
  }

  /** Whether a lane is heard or seen: not muted, and solo if any of its kind is. */
  isOn(lane: Lane): boolean {
    const soloOfKind = this.all.some((one) => one.kind === lane.kind && this.solo.has(one.id));
    return !this.muted.has(lane.id) && (!soloOfKind || this.solo.has(lane.id));
  }

  position(): number {
    if (!this.isRunning) return this.base;
    const passed = (performance.now() - this.since) * 1_000 * this.speed;
    return Math.min(this.duration, this.base + passed);
  }

  /** The stretches that were played since the last call, for the audit. */
  takePlayed(): Array<[number, number]> {
    this.notePlayed();
    if (this.isRunning) this.playedFrom = this.position();
    const played = this.played;
    this.played = [];
    return played;
  }

  /** How far the lanes that play are from each other, for tests and measurements. */
  skew(): number {
    const times = [...this.lanes.values()]
      .filter((lane) => lane.isPlaying())
      .map((lane) => lane.time());
    return times.length > 1 ? Math.max(...times) - Math.min(...times) : 0;
  }

  close(): void {
    clearInterval(this.timer);
    this.stopClock();
    for (const lane of this.lanes.values()) lane.close();
  }

  private tick(): void {
    const at = this.position();
    if (at >= this.duration && this.isPlaying) {
      this.stopClock();
      this.base = this.duration;
      this.isPlaying = false;
      for (const lane of this.lanes.values()) lane.pause();
    }
    const seconds = at / 1e6;
    const isDelivered = this.delivered > at;
    const missing = new Map<number, Missing>();
    let lag = 0;
    let isComing = false;
    for (const lane of this.lanes.values()) {
      lane.free(seconds);
      const track = trackAt(lane.lane, at);
      lane.shown(track?.track ?? null);
      const hasMedia = track !== null && lane.has(seconds);
      if (hasMedia) lane.join(seconds);
      else lane.pause();
      if (!track) continue;
      const showing = lane.showing(seconds, isDelivered);
      if (showing === 'coming') isComing = true;
      if (showing === 'nothing' || showing === 'late') missing.set(lane.lane.id, showing);
      if (hasMedia && this.isPlaying) {
        lag = Math.max(lag, lane.follow(seconds, this.speed, this.isRunning));
      }
    }
    const isMissing = at >= this.delivered && this.delivered < this.duration;
    this.isSettled ||= isDelivered && !isComing;
    if (!isSame(missing, this.missing)) this.missing = missing;
    if (this.isPlaying) this.keepTime(lag, isMissing);
    this.deliverer.ahead(at + AHEAD_US * Math.max(1, this.speed));
    this.tell();
  }

  /** Runs or freezes the clock. */
  private keepTime(lag: number, isMissing: boolean): void {
    const limit = this.isRunning ? LAG_MAX_S : LAG_GOOD_S;
    const mustWait = isMissing || !this.isSettled || lag > limit * Math.max(1, this.speed);
    const now = performance.now();
    if (!mustWait) this.frozenSince = null;
    else this.frozenSince ??= now;
    const isPatient =
      isMissing || !this.isSettled || now - (this.frozenSince ?? now) < FREEZE_MS_MAX;
    if (mustWait && isPatient) this.stopClock();
    else this.startClock();
  }

  private startClock(): void {
    if (this.isRunning) return;
    this.isRunning = true;
    this.since = performance.now();
    this.playedFrom = this.base;
  }

  private stopClock(): void {
    if (!this.isRunning) return;
    const at = this.position();
    this.notePlayed();
    this.base = at;
    this.isRunning = false;
    this.playedFrom = null;
  }

  private notePlayed(): void {
    if (this.playedFrom === null || !this.isRunning) return;
    const until = this.position();
    const last = this.played.at(-1);
    if (last && Math.abs(last[1] - this.playedFrom) < 1_000) last[1] = until;
    else if (until > this.playedFrom) this.played.push([this.playedFrom, until]);
    this.playedFrom = until;
  }

  /** Everything that is to be shown at a time is here already. */
  private has(at: number): boolean {
    if (this.delivery === 0 || at < this.deliveredFrom || at >= this.delivered) return false;
    return [...this.lanes.values()].every((lane) => !trackAt(lane.lane, at) || lane.has(at / 1e6));
  }

  private snapshot(): PlayerState {
    return {
      position: this.position(),
      isPlaying: this.isPlaying,
      speed: this.speed,
      isWaiting: this.isPlaying && !this.isRunning,
      isSettled: this.isSettled,
      missing: this.missing,
    };
  }

  private tell(): void {
    const next = this.snapshot();
    const keys = Object.keys(next) as Array<keyof PlayerState>;
    if (keys.every((key) => next[key] === this.state[key])) return;
    this.state = next;
    for (const listener of this.listeners) listener();
  }
}

function isSame<Key, Value>(one: ReadonlyMap<Key, Value>, other: ReadonlyMap<Key, Value>): boolean {
  return one.size === other.size && [...one].every(([key, value]) => other.get(key) === value);
}
