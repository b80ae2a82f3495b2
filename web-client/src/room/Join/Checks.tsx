/** Four rows: camera, microphone, speaker, network. Each is fine, doubtful or failed, in words. */
import { useLingui } from '@lingui/react';
import { useMediaDeviceSelect } from '@livekit/components-react';
import { CircleCheck, CircleDashed, CircleX, LoaderCircle, TriangleAlert } from 'lucide-react';
import { type ReactNode, useEffect, useState, useSyncExternalStore } from 'react';
import { Button } from '../../ui/Button';
import { Choice } from '../../ui/Choice';
import { readChoices } from '../choices';
import type { DeviceState, Devices, DevicesState } from '../devices';
import { playChime } from './chime';
import { adviceWords, troubleWords } from './help';
import styles from './Join.module.css';

type Verdict = 'fine' | 'busy' | 'doubt' | 'failed' | 'off';

interface Props {
  readonly devices: Devices;
  readonly isListener: boolean;
  readonly isHeard: boolean;
}

export function Checks({ devices, isListener, isHeard }: Props) {
  const { microphone, camera } = useSyncExternalStore(devices.subscribe, () => devices.state);
  return (
    <ul className={styles.rows}>
      {!isListener && (
        <>
          <CameraRow devices={devices} camera={camera} />
          <MicrophoneRow devices={devices} microphone={microphone} isHeard={isHeard} />
        </>
      )}
      <SpeakerRow />
      <NetworkRow />
    </ul>
  );
}

function CameraRow({ devices, camera }: { devices: Devices; camera: DeviceState<unknown> }) {
  const { i18n } = useLingui();
  return (
    <Row
      testId="check-camera"
      name={i18n._('Camera')}
      verdict={deviceVerdict(camera)}
      words={
        camera.kind === 'open'
          ? i18n._('The others will see you.')
          : camera.kind === 'asking'
            ? i18n._('Waiting for your permission')
            : camera.kind === 'closed'
              ? i18n._('Off: the others will not see you.')
              : troubleWords(i18n, 'camera', camera.why)
      }
    >
      {camera.kind === 'trouble' ? (
        <Advice
          words={adviceWords(i18n, camera.why)}
          onAgain={() =>
            void (isBothDenied(devices.state) ? devices.open() : devices.toggleCamera())
          }
        />
      ) : (
        camera.kind === 'open' && (
          <DeviceChoice
            kind="videoinput"
            label={i18n._('Choose camera')}
            onChoose={(id) => void devices.choose('camera', id)}
          />
        )
      )}
    </Row>
  );
}

/** So long somebody may be silent before we ask whether it is the right microphone. */
const SILENCE_MS = 8_000;

function MicrophoneRow(props: {
  devices: Devices;
  microphone: DeviceState<unknown>;
  isHeard: boolean;
}) {
  const { i18n } = useLingui();
  const { devices, microphone, isHeard } = props;
  const [isSilent, setSilent] = useState(false);
  useEffect(() => {
    setSilent(false);
    if (microphone.kind !== 'open' || isHeard) return;
    const timer = setTimeout(() => setSilent(true), SILENCE_MS);
    return () => clearTimeout(timer);
  }, [microphone, isHeard]);

  const verdict =
    microphone.kind === 'open' && !isHeard
      ? isSilent
        ? 'doubt'
        : 'busy'
      : deviceVerdict(microphone);
  return (
    <Row
      testId="check-microphone"
      name={i18n._('Microphone')}
      verdict={verdict}
      words={
        microphone.kind === 'open'
          ? isHeard
            ? i18n._('We hear you.')
            : isSilent
              ? i18n._('We hear nothing. Is it the right microphone?')
              : i18n._('Say a few words.')
          : microphone.kind === 'asking'
            ? i18n._('Waiting for your permission')
            : microphone.kind === 'closed'
              ? i18n._('Off: the others will not hear you.')
              : troubleWords(i18n, 'microphone', microphone.why)
      }
    >
      {microphone.kind === 'trouble'
        ? // Denied both, the row of the camera already says what to do, and does it for both.
          !isBothDenied(devices.state) && (
            <Advice
              words={adviceWords(i18n, microphone.why)}
              onAgain={() => void devices.toggleMicrophone()}
            />
          )
        : microphone.kind === 'open' && (
            <DeviceChoice
              kind="audioinput"
              label={i18n._('Choose microphone')}
              onChoose={(id) => void devices.choose('microphone', id)}
            />
          )}
    </Row>
  );
}

function SpeakerRow() {
  const { i18n } = useLingui();
  const [isTested, setTested] = useState(false);
  return (
    <Row
      testId="check-speaker"
      name={i18n._('Speaker')}
      verdict={isTested ? 'fine' : 'off'}
      words={isTested ? i18n._('Did you hear it? If not, turn it up.') : i18n._('Test it once.')}
      action={
        <Button
          size="small"
          onPress={() => {
            setTested(true);
            void playChime(readChoices().speaker);
          }}
        >
          {i18n._('Play a sound')}
        </Button>
      }
    />
  );
}

type Network = { kind: 'busy' } | { kind: 'reached'; ms: number } | { kind: 'failed' };
/** Slower than this, talking starts to need patience. */
const SLOW_MS = 600;

function NetworkRow() {
  const { i18n } = useLingui();
  const [network, setNetwork] = useState<Network>({ kind: 'busy' });
  const [attempt, setAttempt] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: every attempt measures anew
  useEffect(() => {
    const stop = new AbortController();
    setNetwork({ kind: 'busy' });
    reach(stop.signal)
      .then((ms) => setNetwork({ kind: 'reached', ms }))
      .catch(() => stop.signal.aborted || setNetwork({ kind: 'failed' }));
    return () => stop.abort();
  }, [attempt]);

  const isSlow = network.kind === 'reached' && network.ms > SLOW_MS;
  return (
    <Row
      testId="check-network"
      name={i18n._('Network')}
      verdict={
        network.kind === 'reached'
          ? isSlow
            ? 'doubt'
            : 'fine'
          : network.kind === 'busy'
            ? 'busy'
            : 'failed'
      }
      words={
        network.kind === 'reached'
          ? isSlow
            ? i18n._('Slow: the server answers in {ms} ms.', { ms: network.ms })
            : i18n._('The server answers in {ms} ms.', { ms: network.ms })
          : network.kind === 'busy'
            ? i18n._('Reaching the server')
            : i18n._('The server cannot be reached.')
      }
      action={
        network.kind === 'failed' && (
          <Button size="small" onPress={() => setAttempt((count) => count + 1)}>
            {i18n._('Check again')}
          </Button>
        )
      }
    />
  );
}

/** The quicker of two round trips: the first one also opens the connection. */
async function reach(signal: AbortSignal): Promise<number> {
  const times: number[] = [];
  for (let turn = 0; turn < 2; turn += 1) {
    const begin = performance.now();
    await fetch('/healthz', { cache: 'no-store', signal });
    times.push(performance.now() - begin);
  }
  return Math.max(1, Math.round(Math.min(...times)));
}

function DeviceChoice(props: {
  kind: MediaDeviceKind;
  label: string;
  onChoose: (id: string) => void;
}) {
  const { devices } = useMediaDeviceSelect({ kind: props.kind });
  const kept = readChoices()[props.kind === 'videoinput' ? 'camera' : 'microphone'];
  const [chosen, setChosen] = useState<string | null>(kept ?? null);
  // Choosing is only worth a row when there is something to choose between.
  if (devices.length < 2) return null;
  const options = devices.map((device) => ({ id: device.deviceId, name: device.label }));
  const value = options.some((option) => option.id === chosen) ? chosen : (options[0]?.id ?? null);
  return (
    <Choice
      label={props.label}
      options={options}
      value={value}
      onChoose={(id) => {
        setChosen(id);
        props.onChoose(id);
      }}
    />
  );
}

function Advice({ words, onAgain }: { words: string; onAgain: () => void }) {
  const { i18n } = useLingui();
  return (
    <div className={styles.advice}>
      <p>{words}</p>
      <Button size="small" onPress={onAgain}>
        {i18n._('Check again')}
      </Button>
    </div>
  );
}

interface RowProps {
  readonly testId: string;
  readonly name: string;
  readonly verdict: Verdict;
  readonly words: string;
  readonly action?: ReactNode;
  readonly children?: ReactNode;
}

function Row({ testId, name, verdict, words, action, children }: RowProps) {
  return (
    <li className={styles.row} data-testid={testId} data-verdict={verdict}>
      <Sign verdict={verdict} />
      <div className={styles.rowWords}>
        <h2>{name}</h2>
        <p>{words}</p>
      </div>
      {action}
      {children && <div className={styles.more}>{children}</div>}
    </li>
  );
}

function Sign({ verdict }: { verdict: Verdict }) {
  const Icon = {
    fine: CircleCheck,
    busy: LoaderCircle,
    doubt: TriangleAlert,
    failed: CircleX,
    off: CircleDashed,
  }[verdict];
  return <Icon className={`${styles.sign} ${styles[verdict]}`} size={22} aria-hidden />;
}

function isBothDenied({ microphone, camera }: DevicesState): boolean {
  return [microphone, camera].every(
    (device) => device.kind === 'trouble' && device.why === 'denied',
  );
}

function deviceVerdict(device: DeviceState<unknown>): Verdict {
  switch (device.kind) {
    case 'open':
      return 'fine';
    case 'asking':
      return 'busy';
    case 'closed':
      return 'off';
    default:
      return 'failed';
  }
}
