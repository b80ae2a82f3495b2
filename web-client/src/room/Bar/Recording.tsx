/**
 * The recording as each participant sees it: the question whether he may be recorded, whether he
 * is, and the way to take it back. Always in view while anything is recorded.
 */
import { useLingui } from '@lingui/react';
import { useLocalParticipant, useParticipantAttributes } from '@livekit/components-react';
import { Circle, CircleOff } from 'lucide-react';
import type { ReactNode } from 'react';
import { Bar } from '../../ui/Bar';
import { Button } from '../../ui/Button';
import type { Consult } from '../consult';
import { noticeOf } from '../recording';
import styles from './Recording.module.css';

interface Props {
  readonly consult: Consult;
  readonly publishes: boolean;
}

export function Recording({ consult, publishes }: Props) {
  const { i18n } = useLingui();
  const { localParticipant } = useLocalParticipant();
  const { attributes } = useParticipantAttributes({ participant: localParticipant });
  const grant = () => void consult.answerRecording('granted');
  const refuse = () => void consult.answerRecording('refused');
  switch (noticeOf(attributes ?? {}, publishes)) {
    case 'none':
      return null;
    case 'question':
      return (
        <Bar
          tone="warn"
          testId="recording-question"
          action={
            <span className={styles.answers}>
              <Button look="primary" data-testid="recording-grant" onPress={grant}>
                {i18n._('I agree')}
              </Button>
              <Button data-testid="recording-refuse" onPress={refuse}>
                {i18n._('I do not agree')}
              </Button>
            </span>
          }
        >
          {i18n._(
            'This consult is recorded. The recording is sealed; only compliance officers can open it. May your picture, your voice and your messages be recorded?',
          )}
        </Bar>
      );
    case 'beginning':
      return <Strip state="beginning">{i18n._('Your consent is being written down …')}</Strip>;
    case 'recorded':
      return (
        <Strip
          state="recorded"
          action={
            <Button look="quiet" size="small" data-testid="recording-withdraw" onPress={refuse}>
              {i18n._('Withdraw consent')}
            </Button>
          }
        >
          {i18n._('Recording: you are recorded.')}
        </Strip>
      );
    case 'left-out':
      return (
        <Strip
          state="left-out"
          action={
            publishes && (
              <Button look="quiet" size="small" data-testid="recording-grant" onPress={grant}>
                {i18n._('Agree to be recorded')}
              </Button>
            )
          }
        >
          {i18n._('This consult is recorded. You are not recorded.')}
        </Strip>
      );
    case 'interrupted':
      return (
        <Bar tone="warn" testId="recording-interrupted">
          {i18n._('The recording is interrupted. The consult goes on.')}
        </Bar>
      );
    case 'not-recorded':
      return (
        <Bar tone="warn" testId="recording-failed">
          {i18n._('This consult should be recorded, but it is not. The consult goes on.')}
        </Bar>
      );
  }
}

interface StripProps {
  readonly state: 'beginning' | 'recorded' | 'left-out';
  readonly children: ReactNode;
  readonly action?: ReactNode;
}

function Strip({ state, children, action }: StripProps) {
  const Icon = state === 'recorded' ? Circle : CircleOff;
  return (
    <div className={styles.strip} data-testid="recording" data-state={state}>
      <Icon size={16} aria-hidden className={state === 'recorded' ? styles.light : undefined} />
      <p role="status">{children}</p>
      {action}
    </div>
  );
}
