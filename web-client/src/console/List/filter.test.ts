import { describe, expect, it } from 'vitest';
import type { NamesOf } from '../../archive/protocol';
import type { Summary } from '../api';
import { EVERYTHING, filtered } from './filter';

const recording = (id: string, more: Partial<Summary> = {}): Summary => ({
  id,
  room_sid: `RM_${id}`,
  state: 'closed',
  started: '2026-11-22T04:00:00Z',
  duration_us: 1,
  participants: 2,
  tracks: 4,
  bytes: 1,
  retention: { class: 'consult-3y', until: '2029-11-22T02:00:00Z' },
  holds: [],
  verification: null,
  shreddable: true,
  live: false,
  ...more,
});
const names = new Map<string, NamesOf>([
  ['a', { recording: 'a', room: 'case-1042', people: ['Dr. Li', '王医生'] }],
]);
const all = [
  recording('a'),
  recording('b', { state: 'open', started: '2026-11-23T04:00:00Z' }),
  recording('c', { holds: ['K-7'], started: '2026-11-21T04:00:00Z' }),
];
const shown = (filter: Partial<typeof EVERYTHING>) =>
  filtered(all, names, { ...EVERYTHING, ...filter }).map((one) => one.id);

describe('the list of recordings', () => {
  it('shows the latest first', () => {
    expect(shown({})).toEqual(['b', 'a', 'c']);
  });

  it('finds names once the index is open, in any order and script', () => {
    expect(shown({ words: '王医生 1042' })).toEqual(['a']);
    expect(shown({ words: 'li LI' })).toEqual(['a']);
    expect(filtered(all, new Map(), { ...EVERYTHING, words: 'li' })).toEqual([]);
  });

  it('finds cases that hold a recording', () => {
    expect(shown({ words: 'k-7' })).toEqual(['c']);
  });

  it('narrows by state, class and day', () => {
    expect(shown({ state: 'open' })).toEqual(['b']);
    expect(shown({ class: 'record-15y' })).toEqual([]);
    expect(shown({ from: '2026-11-22' })).toEqual(['b', 'a']);
    expect(shown({ from: '2026-11-22', until: '2026-11-22' })).toEqual(['a']);
  });
});
