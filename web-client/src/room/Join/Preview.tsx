/** Your own picture before joining, mirrored as everybody knows themselves. */
import { useLingui } from '@lingui/react';
import type { LocalVideoTrack } from 'livekit-client';
import { Ear, Video, VideoOff } from 'lucide-react';
import { useEffect, useRef } from 'react';
import type { DeviceState } from '../devices';
import styles from './Join.module.css';

interface Props {
  readonly camera: DeviceState<LocalVideoTrack>;
  readonly isListener: boolean;
}

export function Preview({ camera, isListener }: Props) {
  const { i18n } = useLingui();
  const video = useRef<HTMLVideoElement>(null);
  const track = camera.kind === 'open' ? camera.track : null;

  useEffect(() => {
    const element = video.current;
    if (!track || !element) return;
    track.attach(element);
    return () => {
      track.detach(element);
    };
  }, [track]);

  const Icon = isListener ? Ear : camera.kind === 'asking' ? Video : VideoOff;
  return (
    <div className={styles.preview}>
      {track ? (
        <video
          ref={video}
          className={styles.own}
          muted
          playsInline
          aria-label={i18n._('Your own picture')}
          data-testid="preview"
        />
      ) : (
        <p className={styles.empty}>
          <Icon size={32} aria-hidden />
          {isListener
            ? i18n._('You join to see and hear. Nobody sees or hears you.')
            : camera.kind === 'asking'
              ? i18n._('Your browser asks for the camera and microphone: choose Allow.')
              : i18n._('Your camera is off')}
        </p>
      )}
    </div>
  );
}
