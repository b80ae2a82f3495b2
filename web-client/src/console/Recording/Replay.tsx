/** The replay: stage, transport and timeline, and the keys that drive them. */
import { useLingui } from '@lingui/react';
import { useEffect, useRef, useState, useSyncExternalStore } from 'react';
import { SPEEDS } from '../../archive/player';
import { Bar } from '../../ui/Bar';
import { refusalWords } from '../words';
import styles from './Replay.module.css';
import { Stage } from './Stage';
import type { ReplaySession } from './session';
import { Timeline } from './Timeline';
import { Transport } from './Transport';

interface Props {
  readonly session: ReplaySession;
  readonly officer: string;
}

const STEP_US = 5_000_000;
const LEAP_US = 10_000_000;

export function Replay({ session, officer }: Props) {
  const { i18n } = useLingui();
  const { player } = session;
  const state = useSyncExternalStore(player.subscribe, player.current);
  const findings = useSyncExternalStore(session.subscribe, session.current);
  const [zoom, setZoom] = useState(1);
  const root = useRef<HTMLElement>(null);

  useEffect(() => root.current?.focus(), []);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
      const done = act(event.key);
      if (done) event.preventDefault();
    };
    const act = (key: string): boolean => {
      const { position, isPlaying, speed } = player.current();
      switch (key) {
        case ' ':
        case 'k':
        case 'K':
          if (isPlaying) player.pause();
          else player.play();
          return true;
        case 'ArrowLeft':
          player.seek(position - STEP_US);
          return true;
        case 'ArrowRight':
          player.seek(position + STEP_US);
          return true;
        case 'j':
        case 'J':
          player.seek(position - LEAP_US);
          return true;
        case 'l':
        case 'L':
          player.seek(position + LEAP_US);
          return true;
        case 'Home':
          player.seek(0);
          return true;
        case 'End':
          player.seek(player.duration - 1);
          return true;
        case 'ArrowUp':
        case 'ArrowDown': {
          const at =
            SPEEDS.indexOf(speed as (typeof SPEEDS)[number]) + (key === 'ArrowUp' ? 1 : -1);
          const next = SPEEDS[at];
          if (next) player.setSpeed(next);
          return true;
        }
        default:
          return false;
      }
    };
    addEventListener('keydown', press);
    return () => removeEventListener('keydown', press);
  }, [player]);

  return (
    <section
      ref={root}
      className={styles.replay}
      tabIndex={-1}
      aria-label={i18n._('Replay')}
      data-testid="replay"
      data-position={Math.round(state.position)}
      data-duration={Math.round(player.duration)}
      data-playing={state.isPlaying}
      data-waiting={state.isWaiting}
      data-settled={state.isSettled}
      data-speed={state.speed}
    >
      {findings.isUnlogged && (
        <Bar tone="danger">
          {i18n._('The server cannot log what you watch, so the replay has stopped.')}
        </Bar>
      )}
      {findings.problem !== null && !findings.isUnlogged && (
        <Bar tone="danger">{refusalWords(i18n, findings.problem)}</Bar>
      )}
      <Stage session={session} findings={findings} state={state} officer={officer} />
      <Transport player={player} state={state} zoom={zoom} onZoom={setZoom} />
      <Timeline player={player} state={state} findings={findings} zoom={zoom} />
    </section>
  );
}

/** Keys that mean something else where they are pressed stay there. */
function isTyping(event: KeyboardEvent): boolean {
  if (!(event.target instanceof HTMLElement)) return false;
  const { target, key } = event;
  if (target.closest('input, textarea, select, [role="listbox"], [role="tablist"]')) return true;
  return (key === ' ' || key === 'Enter') && target.closest('button, a') !== null;
}
