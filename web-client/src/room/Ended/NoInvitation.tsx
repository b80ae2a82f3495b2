/** What to do without a usable invitation. */
import { useLingui } from '@lingui/react';
import { Clock, Link2Off } from 'lucide-react';
import { Button } from '../../ui/Button';
import type { Reading } from '../invitation';
import { Panel } from './Panel';

interface Props {
  readonly reading: Reading;
  readonly onTryAnyway: () => void;
}

export function NoInvitation({ reading, onTryAnyway }: Props) {
  const { i18n } = useLingui();
  if (reading.kind === 'expired') {
    const end = i18n.date(new Date(reading.invitation.expiresAt ?? 0), {
      dateStyle: 'medium',
      timeStyle: 'short',
    });
    return (
      <Panel
        testId="expired"
        icon={<Clock size={40} aria-hidden />}
        title={i18n._('This invitation has expired')}
        actions={
          <Button look="plain" onPress={onTryAnyway}>
            {i18n._('Try anyway')}
          </Button>
        }
      >
        <p>{i18n._('It was valid until {end}.', { end })}</p>
        <p>{i18n._('Ask the clinic or the colleague who invited you for a new link.')}</p>
        <p>{i18n._('If the clock of this computer is wrong, try anyway: the server decides.')}</p>
      </Panel>
    );
  }
  return (
    <Panel
      testId={reading.kind === 'missing' ? 'no-invitation' : 'unreadable'}
      icon={<Link2Off size={40} aria-hidden />}
      title={
        reading.kind === 'missing'
          ? i18n._('Open your invitation link')
          : i18n._('This link is not complete')
      }
    >
      <p>
        {reading.kind === 'missing'
          ? i18n._('This page opens a consult. It needs the personal link that you were sent.')
          : i18n._('The link seems to have been cut off on its way to you.')}
      </p>
      <ul>
        <li>{i18n._('Open the link from the message itself, or copy all of it.')}</li>
        <li>{i18n._('Ask the clinic or the colleague who invited you for a new link.')}</li>
      </ul>
    </Panel>
  );
}
