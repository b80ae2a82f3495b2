/** A drawer at the side, over the whole stage on phones. Opened by somebody, it takes the focus. */
import { useLingui } from '@lingui/react';
import { X } from 'lucide-react';
import { type ReactNode, useEffect, useRef } from 'react';
import { Button } from './Button';
import styles from './Side.module.css';

interface Props {
  readonly title: string;
  readonly testId: string;
  readonly onClose: () => void;
  readonly children: ReactNode;
}

export function Side({ title, testId, onClose, children }: Props) {
  const { i18n } = useLingui();
  const side = useRef<HTMLElement>(null);
  useEffect(() => {
    const first = side.current?.querySelector<HTMLElement>('[data-first-focus]') ?? side.current;
    first?.focus();
  }, []);
  return (
    <aside
      ref={side}
      className={styles.side}
      aria-label={title}
      tabIndex={-1}
      data-testid={testId}
      onKeyDown={(event) => {
        if (event.key === 'Escape' && !event.nativeEvent.isComposing) onClose();
      }}
    >
      <div className={styles.head}>
        <h2>{title}</h2>
        <Button look="quiet" onPress={onClose} aria-label={i18n._('Close')}>
          <X size={20} aria-hidden />
        </Button>
      </div>
      {children}
    </aside>
  );
}
