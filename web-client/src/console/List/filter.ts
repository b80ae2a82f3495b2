/** Which recordings of a list are shown: pure decisions over what the server and the index say. */
import type { NamesOf } from '../../archive/protocol';
import type { LifeState, Summary } from '../api';

export interface Filter {
  readonly words: string;
  readonly state: LifeState | '';
  readonly class: string;
  /** Days as `2026-11-22`, both included; empty for no limit. */
  readonly from: string;
  readonly until: string;
}

export const EVERYTHING: Filter = { words: '', state: '', class: '', from: '', until: '' };

export function filtered(
  recordings: readonly Summary[],
  names: ReadonlyMap<string, NamesOf>,
  filter: Filter,
): Summary[] {
  const words = filter.words.toLowerCase().split(/\s+/).filter(Boolean);
  return recordings
    .filter((one) => {
      if (filter.state && one.state !== filter.state) return false;
      if (filter.class && one.retention.class !== filter.class) return false;
      const day = localDay(one.started);
      if (filter.from && day < filter.from) return false;
      if (filter.until && day > filter.until) return false;
      const text = searchable(one, names.get(one.id));
      return words.every((word) => text.includes(word));
    })
    .sort((a, b) => Date.parse(b.started) - Date.parse(a.started));
}

export function classes(recordings: readonly Summary[]): string[] {
  return [...new Set(recordings.map((one) => one.retention.class))].sort();
}

function searchable(one: Summary, names: NamesOf | undefined): string {
  return [one.id, one.room_sid, ...one.holds, names?.room, ...(names?.people ?? [])]
    .join(' ')
    .toLowerCase();
}

/** The officer filters by his own days, not by those of Greenwich. */
function localDay(iso: string): string {
  const date = new Date(iso);
  const two = (value: number) => String(value).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
