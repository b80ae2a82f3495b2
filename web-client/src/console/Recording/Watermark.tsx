/** Who is looking, over everything that is shown: a photograph of the screen says whose it was. */
import { useEffect, useState } from 'react';
import styles from './Watermark.module.css';

const MARKS = 12;
const MINUTE_MS = 60_000;

export function Watermark({ officer }: { readonly officer: string }) {
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const timer = setInterval(() => setNow(new Date()), MINUTE_MS);
    return () => clearInterval(timer);
  }, []);
  const words = `${officer} · ${now.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
  const places = Array.from({ length: MARKS }, (_, place) => place);
  return (
    <div className={styles.watermark} aria-hidden data-testid="watermark" data-officer={officer}>
      {places.map((place) => (
        <span key={place}>{words}</span>
      ))}
    </div>
  );
}
