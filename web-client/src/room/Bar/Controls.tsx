/** The controls: always in view, each with its word; the word of a switch is the state it is in. */
import { useLingui } from '@lingui/react';
import {
  MessageSquare,
  Mic,
  MicOff,
  MonitorUp,
  MonitorX,
  PhoneOff,
  Users,
  Video,
  VideoOff,
} from 'lucide-react';
import type { ReactNode, Ref } from 'react';
import { Button } from 'react-aria-components';
import type { Consult } from '../consult';
import type { Device } from '../invitation';
import type { Person } from '../people';
import type { Drawer } from '../Room';
import styles from './Controls.module.css';

interface Props {
  readonly ref: Ref<HTMLElement>;
  readonly consult: Consult;
  readonly self: Person | undefined;
  readonly publishes: readonly Device[];
  readonly isSpeakingMuted: boolean;
  readonly starting: ReadonlySet<Device>;
  readonly headcount: number;
  readonly unread: number;
  readonly drawer: Drawer;
  readonly onDrawer: (drawer: Drawer) => void;
  readonly shortcuts: boolean;
}

export function Controls(props: Props) {
  const { i18n } = useLingui();
  const { consult, self, publishes, starting, unread, drawer, onDrawer } = props;
  const isMicrophoneOn = self?.microphone === 'on';
  const isCameraOn = self?.hasCamera ?? false;
  const isSharing = self?.hasScreen ?? false;
  const key = (letter: string) => (props.shortcuts ? letter : undefined);

  return (
    <footer className={styles.bar} ref={props.ref} data-testid="controls">
      {props.isSpeakingMuted && (
        <p className={styles.hint} role="status" data-testid="speaking-muted">
          <MicOff size={18} aria-hidden />
          {props.shortcuts
            ? i18n._('You are muted: nobody hears you. Press M to speak.')
            : i18n._('You are muted: nobody hears you.')}
        </p>
      )}
      <div className={styles.group} role="toolbar" aria-label={i18n._('Controls of the consult')}>
        {publishes.includes('microphone') && (
          <Control
            testId="microphone-button"
            icon={isMicrophoneOn ? <Mic aria-hidden /> : <MicOff aria-hidden />}
            word={
              isMicrophoneOn
                ? i18n._('Mic on')
                : starting.has('microphone')
                  ? i18n._('Starting…')
                  : i18n._('Muted')
            }
            label={
              isMicrophoneOn ? i18n._('Mute the microphone') : i18n._('Switch the microphone on')
            }
            look={isMicrophoneOn || starting.has('microphone') ? 'plain' : 'alarm'}
            shortcut={key('M')}
            onPress={() => void consult.toggleMicrophone()}
          />
        )}
        {publishes.includes('camera') && (
          <Control
            testId="camera-button"
            icon={isCameraOn ? <Video aria-hidden /> : <VideoOff aria-hidden />}
            word={
              isCameraOn
                ? i18n._('Camera on')
                : starting.has('camera')
                  ? i18n._('Starting…')
                  : i18n._('Camera off')
            }
            label={isCameraOn ? i18n._('Switch the camera off') : i18n._('Switch the camera on')}
            look={isCameraOn || starting.has('camera') ? 'plain' : 'off'}
            shortcut={key('V')}
            onPress={() => void consult.toggleCamera()}
          />
        )}
        {publishes.includes('screen') && canShare() && (
          <Control
            testId="share-button"
            icon={isSharing ? <MonitorX aria-hidden /> : <MonitorUp aria-hidden />}
            word={isSharing ? i18n._('Stop sharing') : i18n._('Share')}
            label={isSharing ? i18n._('Stop sharing the screen') : i18n._('Share the screen')}
            look={isSharing ? 'active' : 'plain'}
            shortcut={key('S')}
            onPress={() => void consult.toggleScreen()}
          />
        )}
        <Control
          testId="people-button"
          icon={<Users aria-hidden />}
          badge={props.headcount}
          word={i18n._('People')}
          label={i18n._('People: {count, plural, one {# person} other {# people}}', {
            count: props.headcount,
          })}
          look={drawer === 'people' ? 'active' : 'plain'}
          isExpanded={drawer === 'people'}
          shortcut={key('P')}
          onPress={() => onDrawer('people')}
        />
        <Control
          testId="chat-button"
          icon={<MessageSquare aria-hidden />}
          badge={unread}
          isBadgeNews
          word={i18n._('Chat')}
          label={
            unread > 0
              ? i18n._('Chat: {count, plural, one {# new message} other {# new messages}}', {
                  count: unread,
                })
              : i18n._('Chat')
          }
          look={drawer === 'chat' ? 'active' : 'plain'}
          isExpanded={drawer === 'chat'}
          shortcut={key('C')}
          onPress={() => onDrawer('chat')}
        />
        <span className={styles.gap} />
        <Control
          testId="leave-button"
          icon={<PhoneOff aria-hidden />}
          word={i18n._('Leave')}
          label={i18n._('Leave the consult')}
          look="leave"
          onPress={() => void consult.leave()}
        />
      </div>
    </footer>
  );
}

interface ControlProps {
  readonly testId: string;
  readonly icon: ReactNode;
  readonly word: string;
  readonly label: string;
  readonly look: 'plain' | 'active' | 'off' | 'alarm' | 'leave';
  readonly badge?: number;
  readonly isBadgeNews?: boolean;
  readonly isExpanded?: boolean;
  readonly shortcut?: string | undefined;
  readonly onPress: () => void;
}

function Control(props: ControlProps) {
  return (
    <Button
      className={`${styles.control} ${styles[props.look]}`}
      onPress={props.onPress}
      aria-label={`${props.word}. ${props.label}`}
      data-testid={props.testId}
      {...(props.isExpanded !== undefined && { 'aria-expanded': props.isExpanded })}
    >
      <span className={styles.icon} title={props.shortcut && `${props.label} (${props.shortcut})`}>
        {props.icon}
        {props.badge ? (
          <span
            className={styles.badge}
            data-count={props.badge}
            data-news={props.isBadgeNews ?? false}
          />
        ) : null}
      </span>
      <span className={styles.word}>{props.word}</span>
    </Button>
  );
}

/** Phones cannot share their screen from a page. */
function canShare(): boolean {
  return typeof navigator.mediaDevices?.getDisplayMedia === 'function';
}
