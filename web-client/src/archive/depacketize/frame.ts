/** What every depacketiser takes and gives. */
import type { Ordered } from '../order';

export interface Frame {
  /** The RTP timestamp of its packets. */
  readonly timestamp: number;
  /** Their source: each layer of a track has its own, with timestamps of its own. */
  readonly ssrc: number;
  readonly sequence: number;
  readonly arrival: number;
  readonly isKey: boolean;
  readonly bytes: Uint8Array;
  /** Of the picture, where the frame says so. */
  readonly size?: { readonly width: number; readonly height: number };
  /** Pictures before it could not be decoded because something never came. */
  readonly isAfterBreak?: boolean;
  /** What a decoder needs before the first frame (H.264: SPS and PPS, AV1: sequence header). */
  readonly setup?: Uint8Array;
}

/** Makes frames of packets in their order; leaves out what cannot be decoded. */
export interface Depacketizer {
  push(one: Ordered): Frame[];
  /** Media that stands alone: every frame can be the first. */
  readonly isIntra: boolean;
}

/**
 * Collects the packets of a frame and keeps the rule of all video: after a loss nothing is shown
 * until the next keyframe. The codecs say where a frame begins and what is in it.
 */
export abstract class VideoDepacketizer implements Depacketizer {
  readonly isIntra = false;
  private parts: Ordered[] = [];
  /** The frame of this timestamp lacks something. */
  private broken: number | null = null;
  private hasReference = false;
  private isAfterBreak = false;
  private lastPicture: number | null = null;

  push(one: Ordered): Frame[] {
    const { timestamp, payload, isMarked } = one.packet;
    const out: Frame[] = [];
    // Another layer begins with a keyframe, maybe in the middle of a picture of the one before.
    if (this.parts[0] && this.parts[0].packet.ssrc !== one.packet.ssrc) this.parts = [];
    // Without a loss between them the frame before is whole, though its marker was not set.
    if (this.parts[0] && this.parts[0].packet.timestamp !== timestamp && !one.isAfterLoss) {
      this.finish(out);
    }
    if (one.isAfterLoss) this.lose(one);
    // Padding keeps the numbers going and carries nothing.
    if (payload.length === 0) return out;
    if (timestamp === this.broken) return out;
    if (this.parts.length === 0 && !this.begins(one)) {
      this.broken = timestamp;
      this.hasReference = false;
      return out;
    }
    this.broken = null;
    this.parts.push(one);
    if (isMarked) this.finish(out);
    return out;
  }

  /** The packet is the first of a frame; after a loss only where that is certain. */
  protected abstract begins(one: Ordered): boolean;
  /** The frame of its packets, or null when they make none. */
  protected abstract frame(parts: readonly Ordered[]): Frame | null;
  /** The number of the picture, for codecs that count them. */
  protected picture(_one: Ordered): { readonly number: number; readonly range: number } | null {
    return null;
  }

  private lose(one: Ordered): void {
    const had = this.parts[0];
    this.parts = [];
    const isFirst = one.packet.payload.length > 0 && this.begins(one);
    const picture = isFirst ? this.picture(one) : null;
    // Where two pictures follow each other, the hole between them held padding only.
    const isNext =
      !had &&
      picture !== null &&
      this.lastPicture !== null &&
      (this.lastPicture + 1) % picture.range === picture.number;
    if (!isNext) {
      this.hasReference = false;
      this.isAfterBreak = true;
    }
  }

  private finish(out: Frame[]): void {
    const first = this.parts[0];
    if (!first) return;
    const frame = this.frame(this.parts);
    this.parts = [];
    this.lastPicture = this.picture(first)?.number ?? null;
    if (!frame) this.hasReference = false;
    else if (frame.isKey) this.hasReference = true;
    if (!frame || !this.hasReference) {
      this.isAfterBreak = true;
      return;
    }
    out.push(this.isAfterBreak ? { ...frame, isAfterBreak: true } : frame);
    this.isAfterBreak = false;
  }
}

export function stamp(parts: readonly Ordered[]) {
  const first = parts[0];
  if (!first) throw new Error('a frame has at least one packet');
  return {
    timestamp: first.packet.timestamp,
    ssrc: first.packet.ssrc,
    sequence: first.sequence,
    arrival: first.arrival,
  };
}
