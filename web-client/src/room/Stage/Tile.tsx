/** One participant's camera or screen: picture, name, role, and in words what one must know. */
import { useLingui } from '@lingui/react';
import { AudioLines, MicOff, MonitorUp, Pin, PinOff, Snowflake, VideoOff } from 'lucide-react';
import { useEffect, useRef, useState } from 'react';
import { Button } from 'react-aria-components';
import { roleWord } from '../../ui/words';
import type { Device } from '../invitation';
import type { PersonSeat } from '../people';
import { fitFor } from '../stage';
import styles from './Tile.module.css';
import { useSize } from './useSize';

interface Props {
  readonly seat: PersonSeat;
  readonly isLarge: boolean;
  /** Devices of this participant that are being switched on, as far as we know. */
  readonly starting: ReadonlySet<Device>;
  readonly isPinned: boolean;
  readonly frozenSeconds: number | null;
  readonly onPin: (() => void) | null;
}

export function Tile({ seat, isLarge, starting, isPinned, frozenSeconds, onPin }: Props) {
  const { i18n } = useLingui();
  const { person, publication, source } = seat;
  const isScreen = source === 'screen';
  const isSent = publication !== null && !publication.isMuted;
  const track = isSent ? publication.track : undefined;
  const isMuted = !isScreen && person.microphone !== 'on' && !starting.has('microphone');
  const name = person.isLocal ? i18n._('{name} (you)', { name: person.name }) : person.name;

  return (
    <figure
      className={styles.tile}
      data-testid="tile"
      data-identity={person.identity}
      data-source={source}
      data-large={isLarge}
      data-muted={isMuted}
      data-speaking={seat.isSpeaking}
      data-own={person.isLocal}
      data-frozen={frozenSeconds !== null}
      aria-label={isScreen ? i18n._('Screen of {name}', { name: person.name }) : person.name}
    >
      {track ? (
        <Picture seat={seat} isMirrored={person.isLocal && !isScreen} />
      ) : (
        <Placeholder name={person.name} isComing={isSent || starting.has('camera')} />
      )}

      {frozenSeconds !== null && (
        <p className={styles.frozen} data-testid="frozen">
          <Snowflake size={22} aria-hidden />
          {i18n._('Picture frozen {seconds} s', { seconds: frozenSeconds })}
        </p>
      )}

      <figcaption className={styles.caption}>
        {isScreen && <MonitorUp size={16} aria-hidden />}
        {seat.isSpeaking && !isMuted && (
          <AudioLines size={16} className={styles.voice} aria-hidden />
        )}
        <span className={styles.name}>
          {isScreen ? i18n._('Screen of {name}', { name }) : name}
        </span>
        {person.role && !isScreen && (
          <span className={styles.role}>{roleWord(i18n, person.role)}</span>
        )}
        {isMuted && (
          <span className={styles.muted}>
            <MicOff size={14} aria-hidden />
            {person.microphone === 'none' && !person.isLocal
              ? i18n._('No microphone')
              : i18n._('Muted')}
          </span>
        )}
      </figcaption>

      {onPin && (
        <Button
          className={styles.pin ?? ''}
          onPress={onPin}
          aria-label={
            isPinned
              ? i18n._('No longer keep {name} large', { name })
              : i18n._('Keep {name} large', { name })
          }
        >
          {isPinned ? <PinOff size={18} aria-hidden /> : <Pin size={18} aria-hidden />}
        </Button>
      )}
    </figure>
  );
}

function Picture({ seat, isMirrored }: { seat: PersonSeat; isMirrored: boolean }) {
  const { i18n } = useLingui();
  const video = useRef<HTMLVideoElement>(null);
  const [aspect, setAspect] = useState(Number.NaN);
  const { width, height } = useSize(video);
  const track = seat.publication?.track;

  useEffect(() => {
    const element = video.current;
    if (!track || !element) return;
    track.attach(element);
    const measure = () => setAspect(element.videoWidth / element.videoHeight);
    element.addEventListener('resize', measure);
    measure();
    return () => {
      element.removeEventListener('resize', measure);
      track.detach(element);
    };
  }, [track]);

  return (
    <>
      {!(aspect > 0) && <p className={styles.coming}>{i18n._('The picture is coming')}</p>}
      <video
        ref={video}
        className={styles.picture}
        data-fit={fitFor(seat.source, aspect, width / height)}
        data-mirrored={isMirrored}
        muted
        playsInline
        tabIndex={-1}
        aria-hidden
      />
    </>
  );
}

function Placeholder({ name, isComing }: { name: string; isComing: boolean }) {
  const { i18n } = useLingui();
  return (
    <div className={styles.placeholder}>
      <span className={styles.initial} aria-hidden>
        {Array.from(name)[0]?.toUpperCase() ?? '?'}
      </span>
      <span className={styles.off}>
        {!isComing && <VideoOff size={16} aria-hidden />}
        {isComing ? i18n._('The picture is coming') : i18n._('Camera off')}
      </span>
    </div>
  );
}
