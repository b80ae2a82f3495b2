/** Who is here, with role, microphone, camera and line, in words. */
import { useLingui } from '@lingui/react';
import { Mic, MicOff, MonitorUp, SignalLow, Video, VideoOff } from 'lucide-react';
import { Side } from '../../ui/Side';
import { roleWord } from '../../ui/words';
import type { Person } from '../people';
import styles from './People.module.css';

interface Props {
  readonly people: readonly Person[];
  readonly onClose: () => void;
}

export function People({ people, onClose }: Props) {
  const { i18n } = useLingui();
  return (
    <Side
      title={i18n._('People ({count})', { count: people.length })}
      testId="people"
      onClose={onClose}
    >
      <ul className={styles.list}>
        {people.map((person) => (
          <Row key={person.identity} person={person} />
        ))}
      </ul>
    </Side>
  );
}

function Row({ person }: { person: Person }) {
  const { i18n } = useLingui();
  const isMuted = person.microphone !== 'on';
  return (
    <li className={styles.person} data-testid="person" data-identity={person.identity}>
      <p className={styles.name}>
        {person.isLocal ? i18n._('{name} (you)', { name: person.name }) : person.name}
      </p>
      {person.role && <p className={styles.role}>{roleWord(i18n, person.role)}</p>}
      <ul className={styles.facts}>
        <li data-alarm={isMuted}>
          {isMuted ? <MicOff size={16} aria-hidden /> : <Mic size={16} aria-hidden />}
          {person.microphone === 'on'
            ? i18n._('Microphone on')
            : person.microphone === 'muted'
              ? i18n._('Muted')
              : i18n._('No microphone')}
        </li>
        <li>
          {person.hasCamera ? <Video size={16} aria-hidden /> : <VideoOff size={16} aria-hidden />}
          {person.hasCamera ? i18n._('Camera on') : i18n._('Camera off')}
        </li>
        {person.hasScreen && (
          <li>
            <MonitorUp size={16} aria-hidden />
            {i18n._('Shares the screen')}
          </li>
        )}
        {(person.link === 'poor' || person.link === 'lost') && (
          <li data-alarm>
            <SignalLow size={16} aria-hidden />
            {i18n._('Poor connection')}
          </li>
        )}
      </ul>
    </li>
  );
}
