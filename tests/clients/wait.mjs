// Waits for facts. A deadline is generous, because it costs nothing when the fact is there.
import { setTimeout as delay } from 'node:timers/promises';

export async function until(what, ask, { timeout = 60_000, interval = 100 } = {}) {
  const deadline = performance.now() + timeout;
  let last;
  for (;;) {
    try {
      last = await ask();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      const seen = last instanceof Error ? last.stack : JSON.stringify(last);
      throw new Error(`waited ${timeout} ms in vain until ${what}; last: ${seen}`);
    }
    await delay(interval);
  }
}
