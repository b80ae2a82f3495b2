/** Play, steps, speed and the clock. */
import { useLingui } from '@lingui/react';
import { ChevronsLeft, ChevronsRight, Pause, Play, ZoomIn, ZoomOut } from 'lucide-react';
import { type Player, type PlayerState, SPEEDS } from '../../archive/player';
import { Button } from '../../ui/Button';
import { span } from '../words';
import styles from './Transport.module.css';

interface Props {
  readonly player: Player;
  readonly state: PlayerState;
  readonly zoom: number;
  readonly onZoom: (zoom: number) => void;
}

export const ZOOM_MAX = 64;

export function Transport({ player, state, zoom, onZoom }: Props) {
  const { i18n } = useLingui();
  return (
    <div className={styles.transport} role="toolbar" aria-label={i18n._('Playback')}>
      <Button
        size="small"
        onPress={() => player.seek(state.position - 10_000_000)}
        aria-label={i18n._('Back 10 seconds')}
      >
        <ChevronsLeft size={18} aria-hidden />
      </Button>
      <Button
        look="primary"
        size="small"
        onPress={() => (state.isPlaying ? player.pause() : player.play())}
        data-testid="play"
      >
        {state.isPlaying ? <Pause size={18} aria-hidden /> : <Play size={18} aria-hidden />}
        {state.isPlaying ? i18n._('Pause') : i18n._('Play')}
      </Button>
      <Button
        size="small"
        onPress={() => player.seek(state.position + 10_000_000)}
        aria-label={i18n._('Forward 10 seconds')}
      >
        <ChevronsRight size={18} aria-hidden />
      </Button>
      <span className={styles.clock} data-testid="clock">
        {span(state.position)} / {span(player.duration)}
      </span>
      <label className={styles.speed}>
        {i18n._('Speed')}
        <select
          value={state.speed}
          onChange={(event) => player.setSpeed(Number(event.target.value))}
          data-testid="speed"
        >
          {SPEEDS.map((speed) => (
            <option key={speed} value={speed}>
              {speed}×
            </option>
          ))}
        </select>
      </label>
      <span className={styles.keys} aria-hidden>
        {i18n._('Space: play · J K L · ← → 5 s · Home End')}
      </span>
      <span className={styles.space} />
      <Button
        size="small"
        look="quiet"
        isDisabled={zoom <= 1}
        onPress={() => onZoom(Math.max(1, zoom / 2))}
        aria-label={i18n._('Show more of the timeline')}
      >
        <ZoomOut size={18} aria-hidden />
      </Button>
      <span className={styles.zoom}>{zoom}×</span>
      <Button
        size="small"
        look="quiet"
        isDisabled={zoom >= ZOOM_MAX}
        onPress={() => onZoom(Math.min(ZOOM_MAX, zoom * 2))}
        aria-label={i18n._('Show the timeline larger')}
      >
        <ZoomIn size={18} aria-hidden />
      </Button>
    </div>
  );
}
