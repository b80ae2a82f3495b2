/** A live level of the own microphone. */
import { useLingui } from '@lingui/react';
import { Mic } from 'lucide-react';
import { useEffect, useRef, useState } from 'react';
import { LevelMeter } from '../meter';
import { SPEECH_LEVEL } from '../safety';
import styles from './Join.module.css';

interface Props {
  readonly track: MediaStreamTrack | null;
  readonly onHeard: () => void;
}

export function Meter({ track, onHeard }: Props) {
  const { i18n } = useLingui();
  const [level, setLevel] = useState(0);
  const heard = useRef(onHeard);
  heard.current = onHeard;

  useEffect(() => {
    setLevel(0);
    if (!track) return;
    const meter = new LevelMeter(track, (now) => {
      setLevel(now);
      if (now >= SPEECH_LEVEL) heard.current();
    });
    return () => meter.close();
  }, [track]);

  return (
    <div className={styles.meter}>
      <Mic size={18} aria-hidden />
      <meter
        className="visually-hidden"
        aria-label={i18n._('Level of your microphone')}
        min={0}
        max={100}
        value={Math.round(level * 100)}
      />
      <div className={styles.track} aria-hidden>
        <div className={styles.level} style={{ transform: `scaleX(${level})` }} />
      </div>
    </div>
  );
}
