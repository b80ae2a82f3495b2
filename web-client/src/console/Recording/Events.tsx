/** Everything that happened, in order; pressing one goes there. */
import { useLingui } from '@lingui/react';
import { eventsOf } from '../../archive/documents';
import type { Told } from '../../archive/protocol';
import type { Detail } from '../api';
import { consentWord, eventWord, span } from '../words';
import styles from './Panel.module.css';
import type { Findings, ReplaySession } from './session';
import { told } from './spans';

interface Props {
  readonly detail: Detail;
  readonly findings: Findings | null;
  readonly session: ReplaySession | null;
}

/** Events of more than some hours of talk; the rest is in the export. */
const EVENTS_MAX = 2_000;

export function Events({ detail, findings, session }: Props) {
  const { i18n } = useLingui();
  const events = findings?.events ?? told([], eventsOf(detail.manifest));
  const shown = events.filter((event) => event.type !== 'speaking').slice(0, EVENTS_MAX);
  if (shown.length === 0) {
    return <p className={styles.quiet}>{i18n._('No events are known yet.')}</p>;
  }
  return (
    <ol className={styles.events} data-testid="events">
      {shown.map((event) => (
        <li key={`${event.type} ${event.at_us} ${event.participant} ${event.track}`}>
          <button
            type="button"
            disabled={!session}
            onClick={() => session?.player.seek(event.at_us)}
            data-event={event.type}
            data-at={event.at_us}
          >
            <time>{span(event.at_us)}</time>
            <span>{words(event)}</span>
          </button>
        </li>
      ))}
    </ol>
  );

  function words(event: Told): string {
    const what = eventWord(i18n, event.type);
    const person = findings?.recording.people.find((one) =>
      one.participants.includes(event.participant ?? -1),
    );
    const who =
      person?.name ??
      (event.participant ? i18n._('Participant {number}', { number: event.participant }) : '');
    const more = [
      event.type === 'consent' ? consentWord(i18n, String(event.state ?? '')) : null,
      event.type === 'chat' && event.text ? `“${event.text}”` : null,
      event.type === 'layer' && event.width ? `${event.width} × ${event.height}` : null,
    ].filter(Boolean);
    return [who, what, ...more].filter(Boolean).join(' ');
  }
}
