/** Written messages: seen by everybody in the room, gone when the page is closed. */
import { useLingui } from '@lingui/react';
import type { useChat } from '@livekit/components-react';
import { SendHorizontal } from 'lucide-react';
import { useLayoutEffect, useRef, useState } from 'react';
import { Button } from '../../ui/Button';
import { Side } from '../../ui/Side';
import styles from './Chat.module.css';

interface Props {
  readonly chat: ReturnType<typeof useChat>;
  readonly canSend: boolean;
  readonly onClose: () => void;
}

/** Longer than any message, shorter than what would stall the data channel of a thin line. */
const LENGTH_MAX = 2_000;

export function Chat({ chat, canSend, onClose }: Props) {
  const { i18n } = useLingui();
  const { chatMessages, send } = chat;
  const [text, setText] = useState('');
  const [isLost, setLost] = useState(false);
  const log = useRef<HTMLDivElement>(null);

  // biome-ignore lint/correctness/useExhaustiveDependencies: every new message is scrolled to
  useLayoutEffect(() => {
    log.current?.scrollTo({ top: log.current.scrollHeight });
  }, [chatMessages.length]);

  async function submit() {
    const message = text.trim();
    if (!message) return;
    setText('');
    setLost(false);
    try {
      await send(message);
    } catch {
      // What was written is given back, never lost.
      setText(message);
      setLost(true);
    }
  }

  return (
    <Side title={i18n._('Chat')} testId="chat" onClose={onClose}>
      {chatMessages.length === 0 && (
        <p className={styles.empty}>
          {i18n._('No messages yet. Everybody in the room can read them.')}
        </p>
      )}
      <div
        ref={log}
        className={styles.log}
        role="log"
        aria-label={i18n._('Messages')}
        // A scrolling log must be reachable with the keyboard.
        // biome-ignore lint/a11y/noNoninteractiveTabindex: see above
        tabIndex={0}
      >
        <ol className={styles.list}>
          {chatMessages.map((message) => (
            <li
              key={message.id}
              className={styles.message}
              data-own={message.from?.isLocal ?? false}
              data-testid="message"
            >
              <p className={styles.from}>
                <span className={styles.name}>
                  {message.from?.isLocal
                    ? i18n._('You')
                    : message.from?.name ||
                      message.from?.identity ||
                      i18n._('Somebody who has left')}
                </span>
                <time dateTime={new Date(message.timestamp).toISOString()}>
                  {i18n.date(new Date(message.timestamp), { timeStyle: 'short' })}
                </time>
              </p>
              <p className={styles.text}>{message.message}</p>
            </li>
          ))}
        </ol>
      </div>
      {canSend ? (
        <form
          className={styles.form}
          onSubmit={(event) => {
            event.preventDefault();
            void submit();
          }}
        >
          {isLost && (
            <p className={styles.lost} role="alert">
              {i18n._('Not sent. Try again.')}
            </p>
          )}
          <textarea
            className={styles.input}
            aria-label={i18n._('Message to everybody')}
            placeholder={i18n._('Message to everybody')}
            rows={2}
            maxLength={LENGTH_MAX}
            value={text}
            data-first-focus
            data-testid="chat-input"
            onChange={(event) => setText(event.target.value)}
            onKeyDown={(event) => {
              // Enter while composing chooses a Chinese character; it must not send.
              if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
              event.preventDefault();
              void submit();
            }}
          />
          <Button type="submit" look="primary" aria-label={i18n._('Send')} data-testid="chat-send">
            <SendHorizontal size={20} aria-hidden />
            {i18n._('Send')}
          </Button>
        </form>
      ) : (
        <p className={styles.empty}>{i18n._('Your invitation does not allow writing.')}</p>
      )}
    </Side>
  );
}
