/** A full-width bar for what must not be overlooked: one sentence, one action, read out at once. */
import { CircleAlert, TriangleAlert } from 'lucide-react';
import type { ReactNode } from 'react';
import styles from './Bar.module.css';

interface Props {
  readonly tone: 'danger' | 'warn';
  readonly children: ReactNode;
  /** Counts and the like: seen, but not read out again whenever they change. */
  readonly detail?: ReactNode;
  readonly action?: ReactNode;
  readonly testId?: string;
}

export function Bar({ tone, children, detail, action, testId }: Props) {
  const Icon = tone === 'danger' ? CircleAlert : TriangleAlert;
  return (
    <div className={`${styles.bar} ${styles[tone]}`} data-testid={testId}>
      <Icon size={20} aria-hidden />
      <p className={styles.words}>
        <span role="alert">{children}</span>
        {detail && <span aria-hidden> {detail}</span>}
      </p>
      {action}
    </div>
  );
}
