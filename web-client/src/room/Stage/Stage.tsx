/** Draws the arrangement of `stage.ts`: one large tile with a strip, or a grid. */
import { useLingui } from '@lingui/react';
import { UserPlus } from 'lucide-react';
import { useEffect, useRef, useState } from 'react';
import type { Device } from '../invitation';
import type { PersonSeat } from '../people';
import { arrange, gridFor, type Layout } from '../stage';
import styles from './Stage.module.css';
import { Tile } from './Tile';
import { useSize } from './useSize';

const NOTHING: ReadonlySet<Device> = new Set();

interface Props {
  readonly seats: readonly PersonSeat[];
  readonly layout: Layout;
  /** Seconds for which a picture has stood still, by track sid. */
  readonly frozen: ReadonlyMap<string, number>;
  /** One's own devices that are being switched on. */
  readonly starting: ReadonlySet<Device>;
}

export function Stage({ seats, layout, frozen, starting }: Props) {
  const { i18n } = useLingui();
  const [pinned, setPinned] = useState<string | null>(null);
  const previous = useRef<string | null>(null);
  const stage = useRef<HTMLElement>(null);
  const { width, height } = useSize(stage);

  const { large, small } = arrange(seats, layout, previous.current, pinned, Date.now());
  useEffect(() => {
    previous.current = large?.source === 'camera' ? large.key : previous.current;
  });

  const isAlone = seats.every((seat) => seat.isLocal);
  const tile = (seat: PersonSeat, isLarge: boolean) => (
    <Tile
      key={seat.key}
      seat={seat}
      isLarge={isLarge}
      starting={seat.isLocal ? starting : NOTHING}
      isPinned={seat.key === pinned}
      frozenSeconds={frozen.get(seat.publication?.trackSid ?? '') ?? null}
      onPin={
        seats.length > 1 ? () => setPinned((now) => (now === seat.key ? null : seat.key)) : null
      }
    />
  );

  const grid = gridFor(small.length, width, height);
  return (
    <section
      ref={stage}
      className={styles.stage}
      aria-label={i18n._('Participants')}
      data-testid="stage"
      data-layout={large ? 'speaker' : 'grid'}
    >
      {large ? (
        <div className={styles.speaker}>
          <div className={styles.large}>{tile(large, true)}</div>
          {small.length > 0 && (
            <ul className={styles.strip}>
              {small.map((seat) => (
                <li key={seat.key}>{tile(seat, false)}</li>
              ))}
            </ul>
          )}
        </div>
      ) : (
        <ul
          className={styles.grid}
          data-scrolls={!grid.fits}
          style={{
            gridTemplateColumns: `repeat(${grid.columns}, ${grid.width}px)`,
            gridAutoRows: `${grid.height}px`,
          }}
        >
          {small.map((seat) => (
            <li key={seat.key}>{tile(seat, false)}</li>
          ))}
        </ul>
      )}
      {isAlone && (
        <p className={styles.alone} data-testid="alone">
          <UserPlus size={18} aria-hidden />
          {i18n._('Nobody else is here yet. The others can join with their links.')}
        </p>
      )}
    </section>
  );
}
