/** A calm page with one message: used before a consult that cannot begin and after one. */
import type { ReactNode } from 'react';
import { LanguageSwitch } from '../../ui/Language';
import styles from './Panel.module.css';

interface Props {
  readonly icon: ReactNode;
  readonly title: string;
  readonly children: ReactNode;
  readonly actions?: ReactNode;
  readonly testId: string;
}

export function Panel({ icon, title, children, actions, testId }: Props) {
  return (
    <div className={styles.page} data-testid={testId}>
      <header className={styles.header}>
        <span className={styles.brand}>Consilium</span>
        <LanguageSwitch />
      </header>
      <main className={styles.panel}>
        <span className={styles.icon}>{icon}</span>
        <h1>{title}</h1>
        <div className={styles.words}>{children}</div>
        {actions && <div className={styles.actions}>{actions}</div>}
      </main>
    </div>
  );
}
