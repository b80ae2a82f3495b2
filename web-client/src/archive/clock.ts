/**
 * When a frame was taken, on one clock for all participants: microseconds since the recording's
 * start as the server counted them.
 *
 * Sender reports tie a sender's RTP timestamps to his own clock; the quickest report ties his clock
 * to ours. The layers of a track are sources with timestamps of their own, so each has its clock.
 * What was settled for a stretch of a minute is kept, so that a frame stands at the same
 * time however the officer got there. Without reports, or where they disagree with the time of
 * arrival by more than half a second, the quickest packet of the stretch decides.
 */

const STRETCH_US = 60_000_000;
/** Reports further from their time of arrival than this are not believed. */
const DISAGREEMENT_US = 500_000;
/** A packet later than this after its time was not late: the timestamps jumped. */
const LATE_MAX_US = 3_500_000;
/** Clocks of computers drift some 50 us a second apart: older reports say less than they blur. */
const REPORT_AGE_MAX_US = 120_000_000;
const REPORTS_KEPT = 512;

/** One layer of a track. */
export interface SourceName {
  readonly track: number;
  readonly ssrc: number;
}

export interface Report extends SourceName {
  /** Microseconds of the sender's clock. */
  readonly ntp: number;
  readonly rtp: number;
  readonly arrival: number;
}

interface Anchor {
  readonly rtp: number;
  readonly at: number;
}

export interface Stamped {
  readonly timestamp: number;
  readonly arrival: number;
}

/** All clocks of one recording. */
export class Clocks {
  private readonly sources = new Map<string, SourceClock>();
  private readonly senders = new Map<number, Report[]>();

  /** The clock of a source, whose sender is a participant. */
  source(name: SourceName, participant: number, rate: number): SourceClock {
    const key = `${name.track} ${name.ssrc}`;
    const known = this.sources.get(key);
    if (known) return known;
    const clock = new SourceClock(name, rate, this.reportsOf(participant));
    this.sources.set(key, clock);
    return clock;
  }

  report(participant: number, report: Report): void {
    const reports = this.reportsOf(participant);
    const known = reports.find((one) => isOf(one, report) && one.ntp === report.ntp);
    if (known) return;
    reports.push(report);
    if (reports.length > REPORTS_KEPT) reports.shift();
  }

  private reportsOf(participant: number): Report[] {
    const known = this.senders.get(participant) ?? [];
    this.senders.set(participant, known);
    return known;
  }
}

export class SourceClock {
  private readonly anchors = new Map<number, Anchor>();
  private last: Anchor | null = null;

  constructor(
    private readonly name: SourceName,
    private readonly rate: number,
    /** Of all tracks of the sender. */
    private readonly reports: readonly Report[],
  ) {}

  isSettled(arrival: number): boolean {
    return this.anchors.has(stretch(arrival));
  }

  hasReport(arrival: number): boolean {
    return this.nearest(arrival) !== null;
  }

  /** Settles the stretch in which the first of these frames arrived, from what is known by now. */
  settle(frames: readonly Stamped[]): void {
    const first = frames[0];
    if (!first || this.isSettled(first.arrival)) return;
    const quickest = this.quickest(frames);
    const report = this.nearest(first.arrival);
    if (report) {
      const recent = this.reports.filter((one) => isNear(one, first.arrival));
      const offset = Math.min(...recent.map((one) => one.arrival - one.ntp));
      const anchor = { rtp: report.rtp, at: report.ntp + offset };
      if (Math.abs(this.time(anchor, quickest.rtp) - quickest.at) <= DISAGREEMENT_US) {
        this.anchors.set(stretch(first.arrival), anchor);
        return;
      }
    }
    this.anchors.set(stretch(first.arrival), quickest);
  }

  at({ timestamp, arrival }: Stamped): number {
    const anchor = this.anchors.get(stretch(arrival)) ?? this.last;
    const time = anchor ? this.time(anchor, timestamp) : arrival;
    const late = arrival - time;
    if (anchor && late >= -DISAGREEMENT_US && late <= LATE_MAX_US) {
      this.last = anchor;
      return time;
    }
    const renewed = { rtp: timestamp, at: arrival };
    this.anchors.set(stretch(arrival), renewed);
    this.last = renewed;
    return arrival;
  }

  /** The report of this source nearest to a time, of those near enough to count. */
  private nearest(arrival: number): Report | null {
    let best: Report | null = null;
    for (const one of this.reports) {
      if (!isOf(one, this.name) || !isNear(one, arrival)) continue;
      const isNearer = !best || Math.abs(one.arrival - arrival) < Math.abs(best.arrival - arrival);
      if (isNearer) best = one;
    }
    return best;
  }

  private quickest(frames: readonly Stamped[]): Anchor {
    const first = frames[0] ?? { timestamp: 0, arrival: 0 };
    let best = { rtp: first.timestamp, at: first.arrival };
    for (const { timestamp, arrival } of frames) {
      if (this.time(best, timestamp) > arrival) best = { rtp: timestamp, at: arrival };
    }
    return best;
  }

  /** Timestamps wrap; an anchor is never half their range away from what it is used for. */
  private time(anchor: Anchor, rtp: number): number {
    return anchor.at + (((rtp - anchor.rtp) | 0) * 1e6) / this.rate;
  }
}

function isOf(report: Report, { track, ssrc }: SourceName): boolean {
  return report.track === track && report.ssrc === ssrc;
}

function stretch(arrival: number): number {
  return Math.floor(arrival / STRETCH_US);
}

function isNear(report: Report, arrival: number): boolean {
  return Math.abs(report.arrival - arrival) <= REPORT_AGE_MAX_US;
}
