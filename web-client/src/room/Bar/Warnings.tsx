/** The bars for what must not be overlooked, the worst first. They never move the focus. */
import { useLingui } from '@lingui/react';
import { useEffect, useState } from 'react';
import { Bar } from '../../ui/Bar';
import { Button } from '../../ui/Button';
import type { Consult } from '../consult';
import { adviceWords, troubleWords } from '../Join/help';
import { useConsult } from '../useConsult';

export function Warnings({ consult }: { readonly consult: Consult }) {
  const { i18n } = useLingui();
  const { phase, isAudioBlocked, missed, trouble } = useConsult(consult);
  return (
    <div data-testid="warnings">
      {phase.kind === 'reconnecting' && <Reconnecting since={phase.since} />}
      {isAudioBlocked && (
        <Bar
          tone="danger"
          testId="audio-blocked"
          action={
            <Button look="primary" onPress={() => void consult.startAudio()}>
              {i18n._('Switch the sound on')}
            </Button>
          }
        >
          {i18n._('You hear nobody: the browser holds the sound back.')}
        </Bar>
      )}
      {missed.map((one) => (
        <Bar
          key={one.identity}
          tone="danger"
          testId="cannot-hear"
          action={
            <Button onPress={() => consult.reconnectAudio(one.identity)}>
              {i18n._('Reconnect the sound')}
            </Button>
          }
        >
          {i18n._('You cannot hear {name}.', { name: one.name })}
        </Bar>
      ))}
      {trouble && (
        <Bar
          tone="warn"
          testId="device-trouble"
          action={<Button onPress={() => consult.dismissTrouble()}>{i18n._('Understood')}</Button>}
        >
          {troubleWords(i18n, trouble.device, trouble.why)}{' '}
          {trouble.device !== 'screen' && adviceWords(i18n, trouble.why)}
        </Bar>
      )}
    </div>
  );
}

function Reconnecting({ since }: { since: number }) {
  const { i18n } = useLingui();
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.max(0, Math.floor((now - since) / 1000));
  return (
    <Bar tone="danger" testId="reconnecting" detail={i18n._('{seconds} s', { seconds })}>
      {i18n._('Connection lost: reconnecting. The others may not see and hear you.')}
    </Bar>
  );
}
