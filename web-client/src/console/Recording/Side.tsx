/** What is beside the picture: events, integrity, keeping, and who did what. */
import { useLingui } from '@lingui/react';
import { useSyncExternalStore } from 'react';
import { Tab, TabList, TabPanel, Tabs } from 'react-aria-components';
import type { Api, Detail } from '../api';
import { Audit } from './Audit';
import { Events } from './Events';
import { Export } from './Export';
import { Integrity } from './Integrity';
import { Keeping } from './Keeping';
import styles from './Side.module.css';
import type { ReplaySession } from './session';

interface Props {
  readonly api: Api;
  readonly detail: Detail;
  readonly session: ReplaySession | null;
  readonly onChanged: () => void;
}

const NOTHING = () => () => {};

export function Side({ api, detail, session, onChanged }: Props) {
  const { i18n } = useLingui();
  const findings = useSyncExternalStore(
    session?.subscribe ?? NOTHING,
    () => session?.current() ?? null,
  );
  return (
    <aside className={styles.side} aria-label={i18n._('About the recording')}>
      <Tabs className={styles.tabs}>
        <TabList className={styles.list} aria-label={i18n._('About the recording')}>
          <Tab id="events" className={styles.tab}>
            {i18n._('Events')}
          </Tab>
          <Tab id="integrity" className={styles.tab}>
            {i18n._('Integrity')}
          </Tab>
          <Tab id="keeping" className={styles.tab}>
            {i18n._('Keeping')}
          </Tab>
          <Tab id="export" className={styles.tab}>
            {i18n._('Export')}
          </Tab>
          <Tab id="audit" className={styles.tab}>
            {i18n._('Audit')}
          </Tab>
        </TabList>
        <TabPanel id="events" className={styles.panel}>
          <Events detail={detail} findings={findings} session={session} />
        </TabPanel>
        <TabPanel id="integrity" className={styles.panel}>
          <Integrity api={api} detail={detail} findings={findings} onChanged={onChanged} />
        </TabPanel>
        <TabPanel id="keeping" className={styles.panel}>
          <Keeping api={api} summary={detail.summary} onChanged={onChanged} />
        </TabPanel>
        <TabPanel id="export" className={styles.panel}>
          <Export detail={detail} session={session} findings={findings} />
        </TabPanel>
        <TabPanel id="audit" className={styles.panel}>
          <Audit api={api} id={detail.summary.id} />
        </TabPanel>
      </Tabs>
    </aside>
  );
}
