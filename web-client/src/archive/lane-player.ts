/** One lane: its media element, its MediaSource, and the queue of what its buffer shall do next. */
import type { Lane } from './lanes';
import type { Lost, Piece } from './remux';

/**
 * What an element shows of a time: the media of that time; not yet, because it is on its way into the
 * buffer or onto the screen, and that for too long already; or nothing, because there is none.
 */
export type Showing = 'media' | 'coming' | 'late' | 'nothing';

/** What is kept behind the position, for short steps back. */
const BEHIND_S = 20;
const FREE_EVERY_S = 15;
/** How much faster or slower a lane may run to come back to the clock. */
const NUDGE_MAX = 0.1;
/** Below this nobody sees or hears it. */
const DEAD_S = 0.012;
/** What is here and not shown for so long is late: nobody waits for it, and it is said. */
const LATE_MS = 3_000;
/** Another picture than the one that was sought does not go away by itself after so long. */
const CORRECT_AFTER_MS = 200;
/** So slowly that it stays within the picture. */
const CRAWL = 0.1;
/** None has come up so long after the seek was over: the browser is asked again. */
const REPEAT_AFTER_MS = 700;
/** The browser holds a seek up for more pictures than there are after so long. */
const SPARSE_AFTER_MS = 500;
/** So long where it can be seen that there are too few. */
const SPARSE_SOON_MS = 120;
/** Pictures that Chromium decodes before it finishes a seek; it had enough of them at five. */
const PICTURES_MIN = 6;
/** One that was late and is further behind than this goes to the clock at once. */
const BEHIND_MAX_S = 0.5;
/** A lane that believes in the end of its media lags so much when it has come there. */
const STUCK_LAG_S = 0.1;
/** Containers round the times of pictures to milliseconds. */
const ROUNDING_S = 0.002;
/** Media buffered this close to a position counts as there. */
const EDGE_S = 0.03;

type Job =
  | { readonly do: 'append'; readonly type: string; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly do: 'remove'; readonly from: number; readonly until: number }
  | { readonly do: 'clear' };

export class LanePlayer {
  readonly element: HTMLVideoElement | HTMLAudioElement;
  private readonly source = new MediaSource();
  private readonly url = URL.createObjectURL(this.source);
  private buffer: SourceBuffer | null = null;
  private type = '';
  private jobs: Job[] = [];
  private isPresented = true;
  /** Any picture came up since the last seek. */
  private hasPresented = false;
  /** The element stands at the beginning of the picture, not at the time that was sought. */
  private isAtPicture = false;
  /** When it was put there, or when the time was sought. */
  private correctedAt = 0;
  /** It was left behind by the clock while its picture was late. */
  private isBehind = false;
  /** When the pictures begin that were delivered, by track, in seconds. */
  private readonly pictures = new Map<number, number[]>();
  private soughtAt = 0;
  private comingSince: number | null = null;
  private current: Job['do'] | null = null;
  /** The browser was told that no more will come, and plays what comes after all only when it seeks. */
  private hasEnded = false;
  /** What is buffered is of another place and about to go. */
  private isClearing = false;
  private target: number | null = null;
  private freedAt = 0;
  private isFull = false;
  private lost: Lost[] = [];

  constructor(
    public lane: Lane,
    private readonly duration: number,
  ) {
    this.element = document.createElement(lane.kind);
    this.element.preload = 'auto';
    this.element.dataset.lane = String(lane.id);
    this.element.dataset.person = String(lane.person);
    this.element.dataset.medium = lane.medium;
    if (this.element instanceof HTMLVideoElement) {
      this.element.playsInline = true;
      this.element.disablePictureInPicture = true;
      // The sound of a screen has a lane of its own.
      this.element.muted = true;
    }
    this.source.addEventListener('sourceopen', () => this.work());
    this.element.src = this.url;
  }

  append(piece: Piece): void {
    this.lost.push(...piece.lost);
    const known = this.pictures.get(piece.track) ?? [];
    known.push(...piece.pictures.map((at) => at / 1e6));
    this.pictures.set(piece.track, known);
    for (const bytes of [piece.head, piece.body]) {
      if (bytes) {
        this.jobs.push({ do: 'append', type: piece.type, bytes: bytes as Uint8Array<ArrayBuffer> });
      }
    }
    this.work();
  }

  /** The picture that stands there is old: what followed it was lost. */
  isLost(at: number): boolean {
    return this.lost.some((one) => at >= one.from && at < one.until);
  }

  /** Forgets all media; what comes next begins before `seconds`. */
  clear(seconds: number): void {
    this.jobs = [{ do: 'clear' }];
    this.isClearing = true;
    this.lost = [];
    this.pictures.clear();
    this.isFull = false;
    this.isBehind = false;
    this.comingSince = null;
    this.target = seconds;
    this.element.pause();
    this.abort();
    this.work();
  }

  /** Goes to a time for which there is media. */
  goTo(seconds: number): void {
    this.target = seconds;
    this.isBehind = false;
    this.comingSince = null;
    this.join(seconds);
  }

  /** Comes in at a time for which there is media, once: after a seek, a hole, or at the beginning. */
  join(seconds: number): void {
    const isElsewhere = this.rangeAt(this.element.currentTime) !== this.rangeAt(seconds);
    const isLeft = this.isBehind && this.isOnScreen();
    if (isLeft) {
      this.isBehind = false;
      this.comingSince = null;
    }
    const lag = Math.abs(this.element.currentTime - seconds);
    const mustCatchUp = (isLeft && lag > BEHIND_MAX_S) || (lag > STUCK_LAG_S && this.isStuck());
    if (this.target === null && !isElsewhere && !mustCatchUp) return;
    this.target = null;
    this.hasEnded = false;
    if (isElsewhere || Math.abs(this.element.currentTime - seconds) > 0.001) {
      this.element.currentTime = seconds;
      this.soughtAt = performance.now();
      this.awaitPicture(seconds);
    }
  }

  /** It has played what there was when it was told that no more will come, and there is more now. */
  private isStuck(): boolean {
    return this.hasEnded && this.source.readyState === 'open' && this.isOnScreen();
  }

  /** A seek is over before its picture is on the screen, and an older one may come up meanwhile. */
  private awaitPicture(seconds: number): void {
    if (!(this.element instanceof HTMLVideoElement)) return;
    if (!('requestVideoFrameCallback' in this.element)) return;
    this.isPresented = false;
    this.hasPresented = false;
    this.isAtPicture = false;
    this.correctedAt = this.soughtAt;
    const { element, soughtAt: sought } = this;
    const look = (_: number, { mediaTime }: VideoFrameCallbackMetadata) => {
      if (sought !== this.soughtAt) return;
      // The picture may come up before the seek is said to be over, and then no other comes.
      const hasGoneOn = !element.seeking && element.currentTime > seconds + ROUNDING_S;
      this.hasPresented = true;
      this.isPresented = hasGoneOn || this.isPictureOf(mediaTime, seconds);
      if (!this.isPresented) element.requestVideoFrameCallback(look);
      else if (this.isAtPicture) element.pause();
    };
    element.requestVideoFrameCallback(look);
  }

  /** Whether the picture that begins at one time is the one to be seen at another. */
  private isPictureOf(begins: number, seconds: number): boolean {
    const edges = [seconds - ROUNDING_S, seconds + ROUNDING_S];
    return edges.some((edge) =>
      this.beginnings(edge).some((last) => Math.abs(last - begins) <= ROUNDING_S),
    );
  }

  /** When the picture of a time begins, for each track that has one. */
  private beginnings(seconds: number): number[] {
    const lasts = [...this.pictures.values()].map((times) => times[lastUntil(times, seconds)]);
    return lasts.filter((last) => last !== undefined);
  }

  /**
   * Chromium that stands after it has played paints the picture before where pictures are far apart,
   * as those of a screen, and keeps to it at every further seek. Once it plays, however slowly, from
   * where the right one begins, the right one comes up.
   */
  private goToPicture(seconds: number): void {
    const begins = Math.max(...this.beginnings(seconds));
    const waited = performance.now() - this.correctedAt;
    const isSoon = waited < (this.hasPresented ? CORRECT_AFTER_MS : REPEAT_AFTER_MS);
    if (isSoon || !Number.isFinite(begins)) return;
    this.correctedAt = performance.now();
    this.hasPresented = false;
    this.isAtPicture = true;
    this.element.currentTime = Math.min(seconds, begins + ROUNDING_S);
    this.element.playbackRate = CRAWL;
    this.element.play().catch(() => {});
  }

  has(seconds: number): boolean {
    return this.rangeAt(seconds) >= 0;
  }

  /** What is shown of a time, up to which everything was delivered or not. */
  showing(seconds: number, isDelivered: boolean): Showing {
    const hasMedia = this.has(seconds);
    const isShown = hasMedia && !this.isBehind && this.isOnScreen();
    const isNothing = !hasMedia && isDelivered && this.isIdle();
    if (isShown || isNothing || !isDelivered) this.comingSince = null;
    if (isShown) return 'media';
    if (isNothing) return 'nothing';
    if (!isDelivered) return 'coming';
    if (hasMedia) this.help(seconds);
    this.comingSince ??= performance.now();
    this.isBehind ||= performance.now() - this.comingSince > LATE_MS;
    return this.isBehind ? 'late' : 'coming';
  }

  /** The picture of a time is in the buffer and not on the screen. */
  private help(seconds: number): void {
    if (this.element.seeking) this.endEarly(seconds);
    else if (!this.isPresented && this.isDecoded()) this.goToPicture(seconds);
  }

  /**
   * Chromium finishes a seek when it has decoded several pictures; of a screen that stands still
   * there may be three in twenty seconds. Told that no more will come, it shows what it has; the
   * next piece opens the source again.
   */
  private endEarly(seconds: number): void {
    const waited = performance.now() - this.soughtAt;
    const patience = this.picturesAfter(seconds) < PICTURES_MIN ? SPARSE_SOON_MS : SPARSE_AFTER_MS;
    if (waited < patience || !this.isIdle() || this.source.readyState !== 'open') return;
    this.hasEnded = true;
    this.source.endOfStream();
  }

  /** How many of the pictures that are here begin later than a time. */
  private picturesAfter(seconds: number): number {
    const all = [...this.pictures.values()];
    return all.reduce((sum, times) => sum + times.length - 1 - lastUntil(times, seconds), 0);
  }

  /** It can play. A picture that is late is not waited for: it comes up while the rest goes on. */
  isReady(): boolean {
    return this.isDecoded() && (this.isBehind || this.isOnScreen());
  }

  private isDecoded(): boolean {
    const { seeking, readyState } = this.element;
    return !seeking && readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
  }

  /** The picture that was sought is on the screen; where nobody can see it, it will be. */
  private isOnScreen(): boolean {
    if (!this.isDecoded()) return false;
    const isHidden = () => !this.element.checkVisibility({ visibilityProperty: true });
    this.isPresented ||= document.hidden || isHidden();
    return this.isPresented;
  }

  /** The browser has taken everything that was delivered. */
  private isIdle(): boolean {
    if (this.source.readyState === 'closed') return false;
    return this.jobs.length === 0 && !this.buffer?.updating;
  }

  isPlaying(): boolean {
    return !this.element.paused && this.isReady();
  }

  time(): number {
    return this.element.currentTime;
  }

  pause(): void {
    if (!this.element.paused) this.element.pause();
  }

  /** Keeps to the clock by speed alone; how far it lags, in seconds. */
  follow(seconds: number, speed: number, isRunning: boolean): number {
    if (this.isAtPicture) {
      this.isAtPicture = false;
      this.element.currentTime = seconds;
    }
    const lag = seconds - this.element.currentTime;
    if (!this.isReady()) return 0;
    if (!isRunning && lag < 0) {
      // Ahead of a clock that stands: it waits for the clock.
      this.pause();
      return 0;
    }
    if (this.element.paused) this.element.play().catch(() => {});
    const nudge = Math.abs(lag) < DEAD_S ? 0 : Math.max(-NUDGE_MAX, Math.min(NUDGE_MAX, lag));
    const rate = Math.round(speed * (1 + nudge) * 200) / 200;
    if (this.element.playbackRate !== rate) this.element.playbackRate = rate;
    return Math.max(0, lag);
  }

  setMuted(isMuted: boolean): void {
    if (this.lane.kind === 'audio') this.element.muted = isMuted;
  }

  /** Says in the document which track is there now: tests and style sheets ask for it. */
  shown(track: number | null): void {
    const name = track === null ? '' : String(track);
    if (this.element.dataset.track !== name) this.element.dataset.track = name;
  }

  /** Gives back memory behind the position. */
  free(seconds: number): void {
    if (!this.isFull && Math.abs(seconds - this.freedAt) < FREE_EVERY_S) return;
    this.freedAt = seconds;
    if (seconds > BEHIND_S) {
      this.jobs.unshift({ do: 'remove', from: 0, until: seconds - BEHIND_S });
      this.forget(seconds - BEHIND_S);
    }
    this.isFull = false;
    this.work();
  }

  close(): void {
    this.jobs = [];
    this.element.pause();
    this.element.removeAttribute('src');
    this.element.load();
    this.element.remove();
    URL.revokeObjectURL(this.url);
  }

  private forget(until: number): void {
    for (const [track, times] of this.pictures) {
      this.pictures.set(track, times.slice(Math.max(0, lastUntil(times, until))));
    }
    this.lost = this.lost.filter((one) => one.until > until * 1e6);
  }

  private abort(): void {
    // A removal cannot be aborted; it is soon done.
    const isAppending = this.buffer?.updating && this.current === 'append';
    if (isAppending && this.source.readyState === 'open') this.buffer?.abort();
  }

  private work(): void {
    if (this.source.readyState === 'closed' || this.buffer?.updating || this.isFull) return;
    const job = this.jobs.shift();
    if (!job) return;
    try {
      this.perform(job);
    } catch (error) {
      if ((error as DOMException).name === 'QuotaExceededError') {
        this.jobs.unshift(job);
        this.isFull = true;
        return;
      }
      // A piece that the browser does not take is a hole; the next one may be better.
    }
    if (!this.buffer?.updating) queueMicrotask(() => this.work());
  }

  private perform(job: Job): void {
    this.current = job.do;
    if (job.do !== 'append') {
      const isEmpty = !this.buffer || this.buffer.buffered.length === 0;
      if (job.do === 'clear' && isEmpty) this.isClearing = false;
      const [from, until] =
        job.do === 'clear' ? [0, Number.POSITIVE_INFINITY] : [job.from, job.until];
      if (!isEmpty) this.buffer?.remove(from, until);
      // The parser forgets the half cluster before the place, the decoder waits for a keyframe.
      if (job.do === 'clear' && isEmpty) this.buffer?.abort();
      return;
    }
    if (!this.buffer) {
      this.type = job.type;
      // Somewhat longer, so that the last picture can be sought.
      this.source.duration = this.duration / 1e6 + 1;
      this.buffer = this.source.addSourceBuffer(job.type);
      this.buffer.addEventListener('updateend', () => {
        // What was aborted says so when its successor is already at work.
        if (this.buffer?.updating) return;
        if (this.current === 'clear') {
          this.isClearing = false;
          this.buffer?.abort();
        }
        this.work();
      });
    } else if (job.type !== this.type) {
      this.type = job.type;
      this.buffer.changeType(job.type);
    }
    this.buffer.appendBuffer(job.bytes);
  }

  /** The number of the buffered range around a time, or -1. */
  private rangeAt(seconds: number): number {
    const ranges = this.isClearing ? undefined : this.buffer?.buffered;
    for (let i = 0; ranges && i < ranges.length; i++) {
      if (seconds >= ranges.start(i) - EDGE_S && seconds < ranges.end(i)) return i;
    }
    return -1;
  }
}

/** The place of the last of these times that is not after another one; -1 where all are. */
function lastUntil(times: readonly number[], until: number): number {
  let at = times.length - 1;
  while (at >= 0 && (times[at] ?? 0) > until) at -= 1;
  return at;
}
