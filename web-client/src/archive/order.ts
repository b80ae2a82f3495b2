/**
 * Puts the packets of one track into the order in which they were sent. The journal holds them as
 * they arrived; what was resent stands later. Waits for a missing one as long as a resend may take
 * in arrival time, which costs nothing when reading ahead, then says that it is lost.
 */
import { type RtpPacket, Unwrapper } from './rtp';

/** Longer than any resend that the server still asks for. */
export const PATIENCE_US = 1_500_000;
/** The very first packet may have been overtaken by others. */
const FIRST_PATIENCE_US = 500_000;
/** A sender that jumps further has begun anew. */
const JUMP_MAX = 3_000;

export interface Ordered {
  readonly packet: RtpPacket;
  readonly sequence: number;
  /** Microseconds since the recording's start. */
  readonly arrival: number;
  /** Something between the packet before and this one never came. */
  readonly isAfterLoss: boolean;
}

export class Order {
  private sequences = new Unwrapper(16);
  private waiting: Array<Omit<Ordered, 'isAfterLoss'>> = [];
  private next: number | null = null;
  private ssrc: number | null = null;
  private newest = 0;

  push(packet: RtpPacket, arrival: number): Ordered[] {
    const out: Ordered[] = [];
    if (this.ssrc !== packet.ssrc) {
      out.push(...this.flush());
      this.ssrc = packet.ssrc;
      this.sequences = new Unwrapper(16);
      this.next = null;
    }
    let sequence = this.sequences.unwrap(packet.sequence);
    if (this.next !== null && Math.abs(sequence - this.next) > JUMP_MAX) {
      out.push(...this.flush());
      this.sequences = new Unwrapper(16);
      sequence = this.sequences.unwrap(packet.sequence);
      this.next = null;
    }
    this.newest = Math.max(this.newest, arrival);
    const isLate = this.next !== null && sequence < this.next;
    if (!isLate && !this.waiting.some((one) => one.sequence === sequence)) {
      this.insert({ packet, sequence, arrival });
    }
    out.push(...this.release(this.newest));
    return out;
  }

  /** What can be said at a time of arrival up to which everything was read. */
  release(now: number): Ordered[] {
    const out: Ordered[] = [];
    for (let first = this.waiting[0]; first; first = this.waiting[0]) {
      const isFirst = this.next === null;
      const isNext = first.sequence === this.next;
      const patience = isFirst ? FIRST_PATIENCE_US : PATIENCE_US;
      if (!isNext && now - this.oldest() < patience) break;
      this.waiting.shift();
      out.push({ ...first, isAfterLoss: !isNext && !isFirst });
      this.next = first.sequence + 1;
    }
    return out;
  }

  flush(): Ordered[] {
    return this.release(Number.POSITIVE_INFINITY);
  }

  /** When the first packet arrived that still waits for another one; infinite when none does. */
  waitsSince(): number {
    return this.waiting.length > 0 ? this.oldest() : Number.POSITIVE_INFINITY;
  }

  private oldest(): number {
    return this.waiting.reduce((least, one) => Math.min(least, one.arrival), this.newest);
  }

  private insert(one: Omit<Ordered, 'isAfterLoss'>): void {
    let at = this.waiting.length;
    while (at > 0 && (this.waiting[at - 1]?.sequence ?? 0) > one.sequence) at -= 1;
    this.waiting.splice(at, 0, one);
  }
}
