/** The frame of every page of the console, and which one is shown. */
import { useLingui } from '@lingui/react';
import { KeyRound, LogOut, ShieldCheck } from 'lucide-react';
import { useCallback, useEffect, useState } from 'react';
import { I18nProvider as AriaLanguage } from 'react-aria-components';
import { Announcer } from '../ui/Announcer';
import { Button } from '../ui/Button';
import { Fallback } from '../ui/Fallback';
import { LanguageSwitch } from '../ui/Language';
import type { Api } from './api';
import { KeyLoader } from './Keys/KeyLoader';
import { List } from './List/List';
import styles from './Page.module.css';
import { Recording } from './Recording/Recording';
import type { Vault } from './vault';
import { leave, readPlace, type Visit } from './visit';

interface Props {
  readonly api: Api;
  readonly vault: Vault;
  readonly visit: Visit | null;
}

export function Page({ api, vault, visit }: Props) {
  const { i18n } = useLingui();
  const [place, setPlace] = useState(() => readPlace(location.hash));
  const [officers, setOfficers] = useState<readonly string[]>([]);
  const [isKeyOpen, setKeyOpen] = useState(false);

  useEffect(() => {
    const follow = () => setPlace(readPlace(location.hash));
    addEventListener('hashchange', follow);
    return () => removeEventListener('hashchange', follow);
  }, []);

  // No names in titles: they show up in histories and task switchers.
  const title = i18n._('Compliance');
  useEffect(() => {
    document.title = `${title} · Consilium`;
  }, [title]);

  const unlocked = useCallback((recipient: string) => {
    setOfficers((before) => (before.includes(recipient) ? before : [...before, recipient]));
    setKeyOpen(false);
  }, []);
  const forget = () => {
    void vault.ask('forget', {});
    setOfficers([]);
  };

  return (
    <AriaLanguage locale={i18n.locale}>
      <Fallback
        title={i18n._('The page has stopped working. Reload it and open the recording again.')}
        action={i18n._('Reload')}
      >
        <Announcer>
          <div className={styles.page}>
            <header className={styles.top}>
              <ShieldCheck size={22} aria-hidden />
              <strong className={styles.brand}>Consilium</strong>
              <span className={styles.area}>{i18n._('Compliance')}</span>
              <span className={styles.space} />
              {visit && (
                <>
                  <Button
                    look={officers.length > 0 ? 'quiet' : 'plain'}
                    size="small"
                    onPress={() => setKeyOpen(!isKeyOpen)}
                    aria-expanded={isKeyOpen}
                    data-testid="key-button"
                  >
                    <KeyRound size={16} aria-hidden />
                    {officers.length > 0
                      ? i18n._('{count, plural, one {# key loaded} other {# keys loaded}}', {
                          count: officers.length,
                        })
                      : i18n._('Load your key')}
                  </Button>
                  <span className={styles.officer} data-testid="officer">
                    {visit.officer}
                  </span>
                </>
              )}
              <LanguageSwitch />
              {visit && (
                <Button look="quiet" size="small" onPress={leave}>
                  <LogOut size={16} aria-hidden />
                  {i18n._('Sign out')}
                </Button>
              )}
            </header>
            {visit && isKeyOpen && (
              <KeyLoader
                vault={vault}
                officers={officers}
                onUnlocked={unlocked}
                onForget={forget}
                onClose={() => setKeyOpen(false)}
              />
            )}
            <main className={styles.main}>{content()}</main>
          </div>
        </Announcer>
      </Fallback>
    </AriaLanguage>
  );

  function content() {
    if (!visit) {
      return (
        <section className={styles.empty}>
          <h1>{i18n._('Open the console with your link')}</h1>
          <p>
            {i18n._(
              'Whoever runs the server makes the link with “consilium token --role compliance”. It is good for one person and a limited time.',
            )}
          </p>
        </section>
      );
    }
    if (place.recording) {
      return (
        <Recording
          key={place.recording}
          id={place.recording}
          at={place.at}
          api={api}
          vault={vault}
          officer={visit.officer}
          officers={officers}
          onNeedKey={() => setKeyOpen(true)}
        />
      );
    }
    return <List api={api} vault={vault} officers={officers} />;
  }
}
