/** Which room this is, for how long, over what kind of line; layout and devices. */
import { useLingui } from '@lingui/react';
import {
  LayoutGrid,
  RectangleHorizontal,
  SignalHigh,
  SignalLow,
  SignalMedium,
  SignalZero,
} from 'lucide-react';
import { useEffect, useState } from 'react';
import { Button } from '../../ui/Button';
import { clock } from '../../ui/words';
import type { Consult } from '../consult';
import type { Device } from '../invitation';
import type { Link } from '../people';
import type { Layout } from '../stage';
import { Settings } from './Settings';
import styles from './TopBar.module.css';

interface Props {
  readonly consult: Consult;
  readonly room: string;
  readonly joinedAt: number;
  readonly link: Link;
  readonly layout: Layout;
  readonly onLayout: (layout: Layout) => void;
  readonly shortcuts: boolean;
  readonly onShortcuts: (wanted: boolean) => void;
  readonly publishes: readonly Device[];
}

export function TopBar(props: Props) {
  const { i18n } = useLingui();
  const isGrid = props.layout === 'grid';
  const word = isGrid ? i18n._('Speaker view') : i18n._('Grid view');
  return (
    <header className={styles.bar}>
      <h1 className={styles.room} data-testid="room-id">
        <span className="visually-hidden">{i18n._('Room')} </span>
        {props.room}
      </h1>
      <Timer since={props.joinedAt} />
      <LinkQuality link={props.link} />
      <span className={styles.rest} />
      <Button
        look="quiet"
        size="small"
        data-testid="layout-button"
        aria-label={`${word}. ${isGrid ? i18n._('Show one person large') : i18n._('Show everybody alike')}`}
        onPress={() => props.onLayout(isGrid ? 'speaker' : 'grid')}
      >
        {isGrid ? (
          <RectangleHorizontal size={18} aria-hidden />
        ) : (
          <LayoutGrid size={18} aria-hidden />
        )}
        <span className={styles.word}>{word}</span>
      </Button>
      <Settings
        consult={props.consult}
        shortcuts={props.shortcuts}
        onShortcuts={props.onShortcuts}
        publishes={props.publishes}
      />
    </header>
  );
}

function Timer({ since }: { since: number }) {
  const { i18n } = useLingui();
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return (
    <span className={styles.timer} role="timer" aria-label={i18n._('Time in the consult')}>
      {clock(now - since)}
    </span>
  );
}

function LinkQuality({ link }: { link: Link }) {
  const { i18n } = useLingui();
  const [Icon, word] = {
    good: [SignalHigh, i18n._('Good connection')] as const,
    fair: [SignalMedium, i18n._('Fair connection')] as const,
    poor: [SignalLow, i18n._('Poor connection')] as const,
    lost: [SignalZero, i18n._('No connection')] as const,
    unknown: [SignalHigh, i18n._('Connected')] as const,
  }[link];
  return (
    <span className={styles.link} data-link={link} data-testid="own-link">
      <Icon size={18} aria-hidden />
      <span className={styles.linkWord}>{word}</span>
    </span>
  );
}
