/** Reads short news out to those who listen instead of look; politely, after what is being said. */
import { createContext, type ReactNode, useCallback, useContext, useRef, useState } from 'react';

const Context = createContext<(words: string) => void>(() => {});

/** How to say something; several news of one moment are read together. */
export function useAnnounce(): (words: string) => void {
  return useContext(Context);
}

const KEPT_MS = 4_000;

export function Announcer({ children }: { readonly children: ReactNode }) {
  const [news, setNews] = useState<ReadonlyArray<{ id: number; words: string }>>([]);
  const count = useRef(0);
  const announce = useCallback((words: string) => {
    count.current += 1;
    const id = count.current;
    setNews((before) => [...before, { id, words }]);
    setTimeout(() => setNews((before) => before.filter((one) => one.id !== id)), KEPT_MS);
  }, []);
  return (
    <Context.Provider value={announce}>
      {children}
      <div className="visually-hidden" role="status" aria-live="polite" data-testid="announcer">
        {news.map((one) => (
          <p key={one.id}>{one.words}</p>
        ))}
      </div>
    </Context.Provider>
  );
}
