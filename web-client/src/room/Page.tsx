/** Shows the one page that the state asks for: no invitation, joining, the consult, or farewell. */
import { useLingui } from '@lingui/react';
import { useEffect, useState } from 'react';
import { I18nProvider as AriaLanguage } from 'react-aria-components';
import { Fallback } from '../ui/Fallback';
import type { Consult } from './consult';
import { Farewell } from './Ended/Farewell';
import { NoInvitation } from './Ended/NoInvitation';
import { readInvitation } from './invitation';
import { Join } from './Join/Join';
import type { Place } from './place';
import { Room } from './Room';
import { useConsult } from './useConsult';

interface Props {
  readonly consult: Consult;
  readonly place: Place;
}

export function Page({ consult, place }: Props) {
  const { i18n } = useLingui();
  const { phase } = useConsult(consult);
  const [isReturning, setReturning] = useState(false);
  const [ignoresClock, setIgnoresClock] = useState(false);
  // Read at every drawing: the link may expire while this page is open.
  const reading = readInvitation(place.token, place.name, Date.now());

  // No names in titles: they show up in screen shares, histories and task switchers.
  const title = phase.kind === 'inside' ? i18n._('Consult') : i18n._('Join');
  useEffect(() => {
    document.title = `${title} · Consilium`;
  }, [title]);

  return (
    <AriaLanguage locale={i18n.locale}>
      <Fallback
        title={i18n._('The page has stopped working. Reload it: you keep your place.')}
        action={i18n._('Reload')}
      >
        {content()}
      </Fallback>
    </AriaLanguage>
  );

  function content() {
    if (phase.kind === 'inside' || phase.kind === 'reconnecting') {
      if (reading.kind === 'valid' || reading.kind === 'expired') {
        return <Room consult={consult} invitation={reading.invitation} />;
      }
    }
    if (phase.kind === 'gone' && !isReturning) {
      return <Farewell farewell={phase.farewell} onReturn={() => setReturning(true)} />;
    }
    if (reading.kind === 'valid' || (reading.kind === 'expired' && ignoresClock)) {
      return (
        <Join
          consult={consult}
          invitation={reading.invitation}
          onJoined={() => setReturning(false)}
        />
      );
    }
    return <NoInvitation reading={reading} onTryAnyway={() => setIgnoresClock(true)} />;
  }
}
