/**
 * Walks through the console in real Chromium as an officer would, against `archive-server.mjs`: list,
 * key, reason, replay, seeks, speeds, a broken recording, both languages. Fails when a frame stands
 * at the wrong time, axe finds something, or the page is refused anything by its policy. With a
 * folder as argument it leaves screenshots there.
 *
 *     node scripts/walk.mjs [FOLDER]
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const BITS = 12;
const RATE = 20;
/** From the taking of a picture to the server, in `scene.ts`. */
const WAY_S = 0.03;
/** Who starts when, in the recording of `archive-server.mjs`. */
const STARTS = { li: 0, wang: 2, chen: 5, zhao: 8 };
const SEEKS = 10;
/** For machines that do other things at the same time. */
const PATIENCE_MS = 120_000;
const WHOLE = '01JD8Z3V9Q4X7M2K5N6P8R9S01';
const BROKEN = '01JD8Z3V9Q4X7M2K5N6P8R9S02';
const OPEN = '01JD8Z3V9Q4X7M2K5N6P8R9S03';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = process.argv[2] ?? null;
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const problems = [];
const expect = (isSo, words) => {
  if (!isSo) problems.push(words);
};

const server = spawn(process.execPath, [join(root, 'scripts/archive-server.mjs'), '0'], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
const { key, passphrase, link } = await said(server);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--autoplay-policy=no-user-gesture-required',
    '--disable-background-timer-throttling',
    '--disable-renderer-backgrounding',
  ],
});
try {
  for (const language of ['zh-CN', 'en']) await walk(language);
} catch (error) {
  problems.push(String(error));
} finally {
  await browser.close();
  server.kill();
}
for (const problem of problems) console.error(`wrong: ${problem}`);
console.log(
  problems.length === 0 ? 'the console is as it should be' : `${problems.length} problems`,
);
process.exit(problems.length === 0 ? 0 : 1);

async function walk(locale) {
  const context = await browser.newContext({ locale, viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on('console', (message) => {
    // A refused deletion is part of the walk.
    if (message.type() === 'error' && !message.text().includes('409'))
      problems.push(`${locale}: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`${locale}: ${error.message}`));
  const seen = (name) => look(page, `${name}-${locale}`);

  await page.goto(`${link}&debug=1`);
  await page.getByTestId('row').first().waitFor();
  expect(!page.url().includes('token'), 'the token stands in the address bar');
  await seen('list-sealed');

  await page.getByTestId('key-button').click();
  await page.locator('input[type=file]').setInputFiles(key);
  await page.locator('input[type=password]').fill('wrong');
  await page.getByTestId('key-open').click();
  await page.getByRole('alert').waitFor();
  await page.locator('input[type=password]').fill(passphrase);
  await page.getByTestId('key-open').click();
  await page.getByText('MDT-1042').waitFor();
  await seen('list');
  await page.locator('input[type=search]').fill('王医生 1042');
  expect((await page.getByTestId('row').count()) === 1, 'searching a name finds one recording');
  await page.locator('input[type=search]').fill('');

  await page.locator(`[data-recording="${WHOLE}"] a`).click();
  await page.getByTestId('reason').waitFor();
  await seen('reason');
  const opening = Date.now();
  await release(page, 'quality review');
  const opened = Date.now() - opening;
  await page.getByTestId('play').click();
  await page.waitForFunction(
    () => Number(document.querySelector('[data-testid=replay]').dataset.position) > 12.6e6,
  );
  await seen('replay');
  await page.setViewportSize({ width: 1920, height: 1080 });
  await seen('replay-wide');
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.getByTestId('play').click();

  const waits = [];
  for (let n = 0; n < SEEKS; n++) {
    const to = 1 + ((n * 17.37 + (locale === 'en' ? 3.1 : 0)) % 43);
    waits.push(await seekTo(page, to));
    for (const { identity, number } of await numbers(page)) {
      const wanted = Math.floor((to - WAY_S - startOf(identity, to)) * RATE + 0.01);
      expect(
        number === wanted,
        `${locale}: ${identity} shows frame ${number} instead of ${wanted} at ${to.toFixed(2)} s`,
      );
    }
  }
  waits.sort((a, b) => a - b);
  console.log(
    `${locale}: opened in ${opened} ms; ${SEEKS} seeks, median ${waits[SEEKS >> 1]} ms, slowest ${waits.at(-1)} ms`,
  );

  await seekTo(page, 33);
  await seen('gap');
  await keys(page, locale);
  for (const tab of [1, 2, 3, 4]) {
    await page.getByRole('tab').nth(tab).click();
    await page.waitForTimeout(300);
    if (tab === 2) {
      await page.getByTestId('delete').click();
      await page.locator('[class*=danger]').last().click();
      await page.getByText(locale === 'en' ? /must be kept until/ : /必须保存至/).waitFor();
    }
    if (tab === 3) {
      await page.getByTestId('export').click();
      await page.getByTestId('exported').waitFor();
      if (locale === 'en') await save(page);
    }
    await seen(`tab-${tab}`);
  }

  await page.goto(`${page.url().split('#')[0]}#recording=${BROKEN}`);
  await page.getByTestId('reason').waitFor();
  await release(page, 'case 0107');
  await page.getByTestId('play').click();
  await page.locator('[data-trust=bad]').waitFor();
  await seekTo(page, 40);
  expect((await numbers(page)).length > 0, 'after a bad chunk the rest still plays');
  await page.getByRole('tab').nth(1).click();
  await seen('broken');

  await page.goto(`${page.url().split('#')[0]}#recording=${OPEN}`);
  await page.getByTestId('reason').waitFor();
  await release(page, 'live look');
  await seekTo(page, 8);
  expect((await numbers(page)).length === 2, 'an open recording plays');
  await context.close();
}

async function release(page, reason) {
  await page.getByTestId('reason').fill(reason);
  await page.getByTestId('release').click();
  await page.locator('[data-testid=replay][data-settled=true]').waitFor();
}

/** How long it took until every lane showed the place, in milliseconds. */
async function seekTo(page, seconds) {
  const from = Date.now();
  const box = await page.getByRole('slider').boundingBox();
  // A pixel is not fine enough: the address of the hook is.
  await page.evaluate((to) => window.consilium.player().seek(to * 1e6), seconds);
  expect(box !== null, 'there is a timeline');
  await page.locator('[data-testid=replay][data-settled=true]').waitFor();
  return Date.now() - from;
}

async function keys(page, locale) {
  const position = async () =>
    Number(await page.getByTestId('replay').getAttribute('data-position')) / 1e6;
  await page.getByRole('slider').focus();
  const pressed = async (key) => {
    await page.keyboard.press(key);
    await page.waitForTimeout(150);
    return position();
  };
  expect((await pressed('Home')) === 0, `${locale}: Home goes to the beginning`);
  expect((await pressed('ArrowRight')) === 5, `${locale}: the right arrow goes 5 s on`);
  expect((await pressed('l')) === 15, `${locale}: L goes 10 s on`);
  expect((await pressed('j')) === 5, `${locale}: J goes 10 s back`);
  expect((await pressed('End')) > 44, `${locale}: End goes to the end`);
  await pressed('Home');
  await page.locator('[data-testid=replay][data-settled=true]').waitFor();
  await page.keyboard.press('Space');
  await page.waitForTimeout(1_500);
  expect((await position()) > 0.5, `${locale}: space plays`);
  await page.keyboard.press('Space');
}

/** The bar codes of all pictures that are shown. */
function numbers(page) {
  return page.evaluate((bits) => {
    const out = [];
    for (const tile of document.querySelectorAll('[data-testid=tile]')) {
      const video = tile.querySelector('video');
      if (!video?.videoWidth || getComputedStyle(video).visibility === 'hidden') continue;
      const side = Math.floor(video.videoWidth / bits);
      const canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [video.videoWidth, side];
      const context = canvas.getContext('2d');
      context.drawImage(video, 0, 0);
      let number = 0;
      for (let bit = 0; bit < bits; bit++) {
        const [red] = context.getImageData(bit * side + (side >> 1), side >> 1, 1, 1).data;
        if (red > 128) number += 2 ** bit;
      }
      out.push({ identity: tile.dataset.identity, number });
    }
    return out;
  }, BITS);
}

function startOf(identity, at) {
  return identity === 'chen' && at >= 26 ? 26 : STARTS[identity];
}

async function look(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() =>
    window.axe.run(
      { exclude: ['[data-testid=watermark]'] },
      { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] },
    ),
  );
  for (const { id, nodes } of violations) {
    problems.push(
      `${name}: axe ${id}: ${nodes
        .slice(0, 3)
        .map((node) => node.target.join(' '))
        .join('; ')}`,
    );
  }
  const isWide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  expect(!isWide, `${name}: wider than the window`);
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

/** What was exported has to be sound for a player that knows nothing of us. */
async function save(page) {
  const links = await page.getByTestId('exported').getByRole('link').all();
  // One of every kind: Chromium lets a page save ten files without asking.
  const kinds = ['track-1-', 'track-3-', 'track-5-', 'track-7-', 'track-11-', 'events'];
  for (const link of links) {
    const name = await link.getAttribute('download');
    if (!kinds.some((kind) => name.includes(kind))) continue;
    const [download] = await Promise.all([page.waitForEvent('download'), link.click()]);
    const file = join(folder ?? tmpdir(), name);
    await download.saveAs(file);
    if (name.endsWith('.json')) {
      expect(JSON.parse(readFileSync(file)).events.length > 10, 'the events are exported');
      continue;
    }
    const said = execFileSync('ffmpeg', ['-v', 'error', '-i', file, '-f', 'null', '-'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    expect(said.length === 0, `${name}: ${said}`);
    const streams = execFileSync('ffprobe', [
      '-v',
      'error',
      '-show_entries',
      'stream=codec_name',
      '-of',
      'csv=p=0',
      file,
    ]);
    expect(streams.toString().trim().length > 0, `${name} has no stream`);
  }
}

function said(process) {
  return new Promise((resolve, reject) => {
    let words = '';
    process.stdout.on('data', (data) => {
      words += data;
      const key = /^key (\S+) passphrase (\S+)$/m.exec(words);
      const link = /^link (\S+)$/m.exec(words);
      if (key && link) resolve({ key: key[1], passphrase: key[2], link: link[1] });
    });
    process.on('exit', (code) => reject(new Error(`the server ended with ${code}`)));
  });
}
