/**
 * Keeps the first visit small: fails when what the room page loads before it works exceeds its
 * budget, counted as gzip -9. Clinics on rural lines pay for every kilobyte.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const BUDGET_KB = 330;
const dist = new URL('../dist/', import.meta.url);

const page = readFileSync(new URL('index.html', dist), 'utf8');
const linked = [...page.matchAll(/(?:src|href)="\/(assets\/[^"]+)"/g)].map((match) => match[1]);
const size = (path) => gzipSync(readFileSync(new URL(path, dist)), { level: 9 }).length;

// Translations are loaded on demand, one of them per visit: count the largest.
const texts = readdirSync(new URL('assets/', dist))
  .filter((name) => /^(en|zh-CN)-.*\.js$/.test(name))
  .map((name) => size(`assets/${name}`));

const parts = linked.map((path) => [path, size(path)]);
parts.push(['texts (largest language)', Math.max(0, ...texts)]);
const total = parts.reduce((sum, [, bytes]) => sum + bytes, 0) / 1000;

for (const [path, bytes] of parts)
  console.log(`${(bytes / 1000).toFixed(1).padStart(7)} kB  ${path}`);
console.log(`${total.toFixed(1).padStart(7)} kB  in all, budget ${BUDGET_KB} kB gzip`);
if (linked.length === 0 || total > BUDGET_KB) {
  console.error('The room page is over its size budget.');
  process.exit(1);
}
