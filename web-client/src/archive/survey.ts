/**
 * What a recording without a manifest holds: one that is still being made. The head of every segment
 * names the tracks and participants of that moment; what came in between is found while playing.
 */
import type { ParticipantEntry, TrackEntry } from './documents';
import type { Recording } from './recording';
import { json, Kind } from './records';

interface Head {
  readonly tracks?: ReadonlyArray<Omit<TrackEntry, 'from_us' | 'until_us'>>;
  readonly participants?: ReadonlyArray<{ readonly participant: number }>;
}

export interface Survey {
  readonly participants: readonly ParticipantEntry[];
  readonly tracks: readonly TrackEntry[];
}

export async function survey(recording: Recording, duration: number): Promise<Survey> {
  const participants = new Map<number, ParticipantEntry>();
  const tracks = new Map<number, TrackEntry>();
  const numbers = recording.segmentNumbers;
  for (const [i, number] of numbers.entries()) {
    const from = recording.t0(number);
    const next = numbers[i + 1];
    const until = next === undefined ? duration : recording.t0(next);
    const head = await headOf(recording, number);
    for (const { participant } of head?.participants ?? []) {
      const before = participants.get(participant);
      participants.set(participant, {
        participant,
        joined_us: before?.joined_us ?? from,
        left_us: until,
      });
    }
    for (const track of head?.tracks ?? []) {
      const before = tracks.get(track.track);
      tracks.set(track.track, { ...track, from_us: before?.from_us ?? from, until_us: until });
    }
  }
  return { participants: [...participants.values()], tracks: [...tracks.values()] };
}

async function headOf(recording: Recording, number: number): Promise<Head | null> {
  const segment = await recording.segment(number);
  if (!segment) return null;
  for await (const batch of segment.read(0)) {
    const head = batch.records.find((record) => record.kind === Kind.SegmentHead);
    return head ? (json(head) as Head) : null;
  }
  return null;
}
