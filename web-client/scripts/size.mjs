/**
 * Keeps the first visit small: fails when what a page loads before it works exceeds its budget,
 * counted as gzip -9. Clinics on rural lines pay for every kilobyte.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const PAGES = [
  { name: 'room', page: 'index.html', texts: /^(en|zh-CN)-.*\.js$/, worker: null, budget: 330 },
  {
    name: 'console',
    page: 'compliance/index.html',
    texts: /^console-(en|zh-CN)-.*\.js$/,
    worker: /^worker-.*\.js$/,
    budget: 230,
  },
];

const dist = new URL('../dist/', import.meta.url);
const size = (path) => gzipSync(readFileSync(new URL(path, dist)), { level: 9 }).length;
const assets = readdirSync(new URL('assets/', dist));
const matching = (pattern) =>
  assets.filter((name) => pattern?.test(name)).map((name) => size(`assets/${name}`));

let isOver = false;
for (const { name, page, texts, worker, budget } of PAGES) {
  const html = readFileSync(new URL(page, dist), 'utf8');
  const linked = [...html.matchAll(/(?:src|href)="\/(assets\/[^"]+)"/g)].map((match) => match[1]);
  const parts = linked.map((path) => [path, size(path)]);
  // Translations are loaded on demand, one of them per visit: count the largest.
  parts.push(['texts (largest language)', Math.max(0, ...matching(texts))]);
  const workers = matching(worker);
  if (worker) parts.push(['worker', workers.reduce((sum, bytes) => sum + bytes, 0)]);
  const total = parts.reduce((sum, [, bytes]) => sum + bytes, 0) / 1000;

  console.log(name);
  for (const [path, bytes] of parts)
    console.log(`${(bytes / 1000).toFixed(1).padStart(7)} kB  ${path}`);
  console.log(`${total.toFixed(1).padStart(7)} kB  in all, budget ${budget} kB gzip`);
  const isMissing = linked.length === 0 || (worker && workers.length === 0);
  if (isMissing || total > budget) {
    console.error(`The page ${name} is over its size budget, or a part of it is missing.`);
    isOver = true;
  }
}
if (isOver) process.exit(1);
