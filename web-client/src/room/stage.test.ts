import { describe, expect, it } from 'vitest';
import { arrange, fitFor, gridFor, type Seat, TAKEOVER_MS } from './stage';

const NOW = 100_000;

function seat(key: string, rest: Partial<Seat> = {}): Seat {
  return {
    key,
    source: 'camera',
    isLocal: false,
    isSpeaking: false,
    spokeAt: 0,
    since: 0,
    ...rest,
  };
}

const self = seat('self', { isLocal: true });
const li = seat('li', { since: 1 });
const wang = seat('wang', { since: 2 });
const keys = (seats: readonly Seat[]) => seats.map((one) => one.key);

describe('the speaker layout', () => {
  it('shows the other person large and oneself small when two are here', () => {
    const stage = arrange([self, li], 'speaker', null, null, NOW);
    expect(stage.large?.key).toBe('li');
    expect(keys(stage.small)).toEqual(['self']);
  });

  it('shows oneself while nobody else is here', () => {
    expect(arrange([self], 'speaker', null, null, NOW).large?.key).toBe('self');
  });

  it('is empty without anybody', () => {
    expect(arrange([], 'speaker', null, null, NOW)).toEqual({
      layout: 'grid',
      large: null,
      small: [],
    });
  });

  it('gives the stage to somebody who speaks', () => {
    const speaking = { ...wang, isSpeaking: true, spokeAt: NOW - TAKEOVER_MS };
    expect(arrange([self, li, speaking], 'speaker', 'li', null, NOW).large?.key).toBe('wang');
  });

  it('does not give the stage to a cough', () => {
    const coughing = { ...wang, isSpeaking: true, spokeAt: NOW - TAKEOVER_MS + 1 };
    expect(arrange([self, li, coughing], 'speaker', 'li', null, NOW).large?.key).toBe('li');
  });

  it('does not take the stage from somebody who still speaks', () => {
    const first = { ...li, isSpeaking: true, spokeAt: NOW - 9_000 };
    const second = { ...wang, isSpeaking: true, spokeAt: NOW - 5_000 };
    expect(arrange([self, first, second], 'speaker', 'li', null, NOW).large?.key).toBe('li');
  });

  it('leaves the last speaker large in silence', () => {
    expect(arrange([self, li, wang], 'speaker', 'wang', null, NOW).large?.key).toBe('wang');
  });

  it('never makes oneself large for speaking', () => {
    const talking = { ...self, isSpeaking: true, spokeAt: NOW - 60_000 };
    expect(arrange([talking, li], 'speaker', null, null, NOW).large?.key).toBe('li');
  });

  it('moves on when the large one has left', () => {
    expect(arrange([self, wang], 'speaker', 'li', null, NOW).large?.key).toBe('wang');
  });
});

describe('a shared screen', () => {
  const share = seat('li/screen', { source: 'screen', since: 5 });

  it.each(['speaker', 'grid'] as const)('takes the stage in the %s layout', (layout) => {
    const stage = arrange([self, li, share, wang], layout, 'wang', null, NOW);
    expect(stage.layout).toBe('speaker');
    expect(stage.large?.key).toBe('li/screen');
    expect(keys(stage.small)).toEqual(['li', 'wang', 'self']);
  });

  it('of somebody else goes before one’s own, and the newest before the older', () => {
    const own = seat('self/screen', { source: 'screen', isLocal: true, since: 9 });
    const newer = seat('wang/screen', { source: 'screen', since: 7 });
    expect(arrange([own, share, newer], 'grid', null, null, NOW).large?.key).toBe('wang/screen');
    expect(arrange([own, self], 'grid', null, null, NOW).large?.key).toBe('self/screen');
  });

  it('yields to what the viewer has pinned', () => {
    expect(arrange([self, li, share], 'grid', null, 'li', NOW).large?.key).toBe('li');
  });
});

describe('the grid layout', () => {
  it('shows everybody alike, oneself last, the others as they came', () => {
    const stage = arrange([self, wang, li], 'grid', null, null, NOW);
    expect(stage.large).toBeNull();
    expect(keys(stage.small)).toEqual(['li', 'wang', 'self']);
  });

  it('keeps its order when somebody speaks', () => {
    const speaking = { ...wang, isSpeaking: true, spokeAt: NOW - 9_000 };
    expect(keys(arrange([self, speaking, li], 'grid', null, null, NOW).small)).toEqual([
      'li',
      'wang',
      'self',
    ]);
  });

  it('forgets a pin whose tile is gone', () => {
    expect(arrange([self, li], 'grid', null, 'wang', NOW).layout).toBe('grid');
  });
});

describe('grid sizes', () => {
  it.each([
    [1, 1280, 700, 1],
    [2, 1280, 560, 2],
    [2, 390, 640, 1],
    [3, 1280, 700, 2],
    [4, 1280, 700, 2],
    [5, 1280, 700, 3],
    [9, 1280, 700, 3],
  ])('%i tiles on %i × %i stand in %i columns', (count, width, height, columns) => {
    expect(gridFor(count, width, height)).toMatchObject({ columns, fits: true });
  });

  it('has room for every tile', () => {
    for (let count = 1; count <= 60; count += 1) {
      const grid = gridFor(count, 1280, 700);
      expect(grid.columns * grid.rows).toBeGreaterThanOrEqual(count);
      expect(grid.columns * (grid.rows - 1)).toBeLessThan(count);
    }
  });

  it('scrolls rather than showing faces that nobody could read', () => {
    const grid = gridFor(20, 390, 500);
    expect(grid).toMatchObject({ columns: 2, rows: 10, fits: false });
  });

  it('never leaves the stage while it fits', () => {
    for (const [width, height] of [
      [1280, 700],
      [390, 700],
      [844, 300],
    ] as const) {
      for (let count = 1; count <= 12; count += 1) {
        const grid = gridFor(count, width, height);
        if (!grid.fits) continue;
        expect(grid.columns * (grid.width + 8) - 8).toBeLessThanOrEqual(width + 0.01);
        expect(grid.rows * (grid.height + 8) - 8).toBeLessThanOrEqual(height + 0.01);
      }
    }
  });

  it('lets tiles grow taller only as far as a camera still fills them', () => {
    const grid = gridFor(2, 390, 700);
    expect(grid.width / grid.height).toBeCloseTo(4 / 3, 5);
    expect(fitFor('camera', 16 / 9, grid.width / grid.height)).toBe('cover');
  });

  it('survives a stage without any size', () => {
    expect(gridFor(3, 0, 0).columns).toBe(1);
  });
});

describe('a picture in its tile', () => {
  it('of a shared screen is never cropped', () => {
    expect(fitFor('screen', 16 / 9, 16 / 9.2)).toBe('contain');
  });

  it('of a camera fills the tile when little is lost', () => {
    expect(fitFor('camera', 4 / 3, 16 / 9)).toBe('cover');
  });

  it('of a phone held upright is shown whole', () => {
    expect(fitFor('camera', 9 / 16, 16 / 9)).toBe('contain');
  });

  it('of unknown size is shown whole', () => {
    expect(fitFor('camera', Number.NaN, 16 / 9)).toBe('contain');
    expect(fitFor('camera', 0, 16 / 9)).toBe('contain');
  });
});
