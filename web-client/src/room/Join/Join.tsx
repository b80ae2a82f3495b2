/** Before the consult: who you are, whether you will be seen and heard, and one button to join. */
import { useLingui } from '@lingui/react';
import { Mic, MicOff, Video, VideoOff } from 'lucide-react';
import { useEffect, useState, useSyncExternalStore } from 'react';
import { Bar } from '../../ui/Bar';
import { Button } from '../../ui/Button';
import { LanguageSwitch } from '../../ui/Language';
import { roleWord } from '../../ui/words';
import type { Consult, JoinFailure } from '../consult';
import { Devices } from '../devices';
import type { Invitation } from '../invitation';
import { Checks } from './Checks';
import { joinFailureWords } from './help';
import styles from './Join.module.css';
import { Meter } from './Meter';
import { Preview } from './Preview';

interface Props {
  readonly consult: Consult;
  readonly invitation: Invitation;
  readonly onJoined: () => void;
}

export function Join({ consult, invitation, onJoined }: Props) {
  const { i18n } = useLingui();
  const devices = useDevices(invitation.publishes.length > 0);
  const { microphone, camera } = useSyncExternalStore(devices.subscribe, () => devices.state);
  const [isHeard, setHeard] = useState(false);
  const [failure, setFailure] = useState<JoinFailure | null>(null);
  const [isJoining, setJoining] = useState(false);

  const isListener = invitation.publishes.length === 0;
  const isAsking = !isListener && (microphone.kind === 'asking' || camera.kind === 'asking');
  const joinWord = isJoining
    ? i18n._('Joining…')
    : isListener || (microphone.kind !== 'open' && camera.kind !== 'open' && !isAsking)
      ? i18n._('Join to listen')
      : camera.kind === 'open' || isAsking
        ? i18n._('Join the consult')
        : i18n._('Join without camera');

  async function join() {
    setJoining(true);
    setFailure(null);
    try {
      const joining = consult.join(location.origin, invitation.token, devices.lend());
      // Inside the click, so that the browser lets the consult play sound.
      void consult.startAudio();
      await joining;
      onJoined();
    } catch (error) {
      devices.takeBack();
      setFailure(error instanceof Error ? (error.cause as JoinFailure) : 'failed');
      setJoining(false);
    }
  }

  return (
    <div className={styles.page} data-testid="join">
      <header className={styles.header}>
        <span className={styles.brand}>Consilium</span>
        <LanguageSwitch />
      </header>
      <main className={styles.main}>
        <div className={styles.who}>
          <h1>{i18n._('Ready for the consult?')}</h1>
          <dl className={styles.facts}>
            <div>
              <dt>{i18n._('You')}</dt>
              <dd data-testid="own-name">{invitation.name}</dd>
            </div>
            {invitation.role && (
              <div>
                <dt>{i18n._('Role')}</dt>
                <dd data-testid="own-role">{roleWord(i18n, invitation.role)}</dd>
              </div>
            )}
            <div>
              <dt>{i18n._('Room')}</dt>
              <dd data-testid="room-id">{invitation.room}</dd>
            </div>
          </dl>
        </div>

        <section className={styles.look} aria-label={i18n._('Your picture and sound')}>
          <Preview camera={isListener ? { kind: 'closed' } : camera} isListener={isListener} />
          {!isListener && (
            <>
              <Meter
                track={microphone.kind === 'open' ? microphone.track.mediaStreamTrack : null}
                onHeard={() => setHeard(true)}
              />
              <div className={styles.switches}>
                <Button
                  onPress={() => void devices.toggleMicrophone()}
                  isDisabled={microphone.kind === 'asking'}
                >
                  {microphone.kind === 'open' ? <Mic aria-hidden /> : <MicOff aria-hidden />}
                  {microphone.kind === 'open' ? i18n._('Microphone on') : i18n._('Microphone off')}
                </Button>
                <Button
                  onPress={() => void devices.toggleCamera()}
                  isDisabled={camera.kind === 'asking'}
                >
                  {camera.kind === 'open' ? <Video aria-hidden /> : <VideoOff aria-hidden />}
                  {camera.kind === 'open' ? i18n._('Camera on') : i18n._('Camera off')}
                </Button>
              </div>
            </>
          )}
        </section>

        <section className={styles.checks} aria-label={i18n._('Check of your devices')}>
          <Checks devices={devices} isListener={isListener} isHeard={isHeard} />
          <div className={styles.join}>
            {failure && (
              <Bar tone="danger" testId="join-failure">
                {joinFailureWords(i18n, failure)}
              </Bar>
            )}
            <Button
              look="primary"
              size="large"
              isDisabled={isJoining || isAsking}
              onPress={() => void join()}
              data-testid="join-button"
            >
              {joinWord}
            </Button>
          </div>
        </section>
      </main>
    </div>
  );
}

/** Opens the devices while the page is shown and lets go of them after it. */
function useDevices(isWanted: boolean): Devices {
  const [devices, setDevices] = useState(() => new Devices());
  useEffect(() => {
    const opened = new Devices();
    setDevices(opened);
    if (isWanted) void opened.open();
    return () => opened.close();
  }, [isWanted]);
  return devices;
}
