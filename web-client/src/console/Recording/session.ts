/**
 * One replay from its release to its end: the player, what was found out about the recording on the
 * way, and the account of what was watched, which the server gets every ten seconds.
 */
import type { Fault } from '../../archive/chain';
import { Player } from '../../archive/player';
import type { Covered, ExportedFile, News, OpenRecording, Told } from '../../archive/protocol';
import type { Api } from '../api';
import { Failed, type Vault } from '../vault';
import { merged } from './coverage';
import { told } from './spans';

const REPORT_EVERY_MS = 10_000;
/** The server takes so many stretches at once. */
const RANGES_MAX = 64;
/** So many reports may fail before the replay stops: what cannot be logged must not be seen. */
const FAILURES_MAX = 2;

export interface Findings {
  readonly recording: OpenRecording;
  readonly covered: readonly Covered[];
  readonly faults: ReadonlyArray<{ readonly fault: Fault; readonly at: number }>;
  readonly events: readonly Told[];
  /** Of an export, from 0 to 1. */
  readonly progress: number | null;
  readonly problem: unknown;
  /** The server did not take the account of what was watched. */
  readonly isUnlogged: boolean;
}

let current: Player | null = null;

/** The player of the open replay. */
export function currentPlayer(): Player | null {
  return current;
}

export class ReplaySession {
  readonly player: Player;
  private findings: Findings;
  private readonly listeners = new Set<() => void>();
  private readonly timer: ReturnType<typeof setInterval>;
  private readonly stopListening: () => void;
  private unreported: Array<[number, number]> = [];
  private failures = 0;

  constructor(
    private readonly api: Api,
    private readonly vault: Vault,
    private readonly replay: string,
    recording: OpenRecording,
    at: number,
  ) {
    this.findings = {
      recording,
      covered: [],
      faults: [],
      events: told([], recording.events),
      progress: null,
      problem: null,
      isUnlogged: false,
    };
    this.player = new Player(recording.lanes, recording.duration, {
      play: (from, delivery) => {
        // A new delivery knows only how far the first stretch goes.
        this.ahead = 0;
        void this.vault.ask('play', { from, delivery }).catch((error) => this.fail(error));
      },
      ahead: (until) => this.lookAhead(until),
    });
    current = this.player;
    this.stopListening = vault.listen((news) => this.hear(news));
    this.timer = setInterval(() => void this.report(), REPORT_EVERY_MS);
    addEventListener('pagehide', this.leave);
    this.player.seek(at);
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  current = (): Findings => this.findings;

  async export(tracks: readonly number[]): Promise<readonly ExportedFile[]> {
    this.player.pause();
    this.set({ progress: 0 });
    try {
      // Written down before there is anything to save.
      const { recording } = this.findings;
      await this.api.exported(
        this.replay,
        `tracks ${tracks.join(',')} and events of ${recording.recording}`,
      );
      const { files } = await this.vault.ask('export', { tracks });
      return files;
    } finally {
      this.set({ progress: null });
    }
  }

  close(): void {
    removeEventListener('pagehide', this.leave);
    clearInterval(this.timer);
    this.stopListening();
    this.leave();
    this.player.close();
    if (current === this.player) current = null;
    void this.vault.ask('close', {});
  }

  private ahead = 0;

  /** The worker is asked a few times a second at most. */
  private lookAhead(until: number): void {
    if (Math.abs(until - this.ahead) < 500_000) return;
    this.ahead = until;
    void this.vault.ask('ahead', { until });
  }

  private leave = (): void => {
    void this.report().then(() => this.api.end(this.replay).catch(() => {}));
  };

  private async report(): Promise<void> {
    this.unreported.push(
      ...this.player
        .takePlayed()
        .map(([from, until]) => [Math.round(from), Math.round(until)] as [number, number]),
    );
    const ranges = this.unreported.filter(([from, until]) => until > from);
    if (ranges.length === 0) return;
    this.unreported = [];
    try {
      while (ranges.length > 0) {
        await this.api.watched(this.replay, ranges.slice(0, RANGES_MAX));
        ranges.splice(0, RANGES_MAX);
      }
      this.failures = 0;
      if (this.findings.isUnlogged) this.set({ isUnlogged: false });
    } catch (error) {
      this.unreported.unshift(...ranges);
      this.failures += 1;
      if (this.failures < FAILURES_MAX) return;
      this.player.pause();
      this.set({ isUnlogged: true, problem: error });
    }
  }

  private hear(news: News): void {
    this.player.take(news);
    const { covered, faults, events, recording } = this.findings;
    switch (news.news) {
      case 'covered':
        this.set({ covered: merged(covered, news.stretches, recording.duration) });
        break;
      case 'fault': {
        const { fault, at } = news;
        const isKnown = faults.some(
          (one) =>
            one.fault.segment === fault.segment &&
            one.fault.chunk === fault.chunk &&
            one.fault.why === fault.why,
        );
        if (!isKnown) this.set({ faults: [...faults, { fault, at }].sort((a, b) => a.at - b.at) });
        break;
      }
      case 'events':
        this.set({ events: told(events, news.events) });
        break;
      case 'lanes':
        this.player.setLanes(news.lanes);
        this.set({ recording: { ...recording, people: news.people, lanes: news.lanes } });
        break;
      case 'progress':
        this.set({ progress: news.share });
        break;
      case 'failed':
        this.fail(new Failed(news.failure));
        break;
    }
  }

  private fail(problem: unknown): void {
    this.player.pause();
    this.set({ problem });
  }

  private set(change: Partial<Findings>): void {
    this.findings = { ...this.findings, ...change };
    for (const listener of this.listeners) listener();
  }
}
