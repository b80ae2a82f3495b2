// A compliance officer in a real browser at the console: loads a key, gives a reason, seeks and
// plays, and looks at what is shown and heard with the proofs of proof.js.
import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { NUMBER_BITS, readNumber } from './media.mjs';
import { Visitor } from './visitor.mjs';
import { until } from './wait.mjs';

// Machines that do other things at the same time: a deadline says only that something is wrong.
const PATIENT = { timeout: 120_000 };

export class Officer {
  // Ranges of segments that the browser got: { name, bytes: [from, until] }.
  served = [];
  // Where ranges of segments begin that the browser asked for: it lets some go when it seeks.
  asked = [];
  // What was played: [from, until] in microseconds.
  played = [];

  // Opens the console with a link of `consilium token --role compliance`.
  static async enter(link, options = {}) {
    const officer = new Officer();
    officer.visitor = await Visitor.link('officer', `${link}&debug=1`, options);
    officer.page = officer.visitor.page;
    officer.page.setDefaultTimeout(PATIENT.timeout);
    const segment = (url) => /\/files\/(seg-\d{6}\.age)$/.exec(url)?.[1];
    officer.page.on('request', (request) => {
      const from = /^bytes=(\d+)-/.exec(request.headers().range ?? '')?.[1];
      if (from) officer.asked.push(`${segment(request.url())} ${from}`);
    });
    officer.page.on('response', (response) => {
      const name = segment(response.url());
      const range = /^bytes (\d+)-(\d+)\//.exec(response.headers()['content-range'] ?? '');
      if (name && response.ok()) {
        officer.served.push({ name, bytes: [Number(range[1]), Number(range[2]) + 1] });
      }
    });
    return officer;
  }

  hook(testId) {
    return this.page.getByTestId(testId);
  }

  async loadKey(file, passphrase) {
    await this.hook('key-button').click();
    const loader = this.hook('key-loader');
    await loader.locator('input[type=file]').setInputFiles(file);
    await loader.locator('input[type=password]').fill(passphrase);
    await this.hook('key-open').click();
    // Opening the passphrase takes a second, on a busy machine several; the loader closes then.
    await loader.waitFor({ state: 'detached' });
  }

  async goTo(recording) {
    await this.page.goto(`${this.page.url().split('#')[0]}#recording=${recording}`);
    await this.page.locator(`[data-testid=recording][data-recording="${recording}"]`).waitFor();
  }

  // Leaves the recording and comes back to it.
  async reopen(recording, reason) {
    await this.page.goto(`${this.page.url().split('#')[0]}#list`);
    await this.page.locator(`[data-testid=row][data-recording="${recording}"]`).waitFor();
    await this.goTo(recording);
    await this.open(reason);
  }

  // Gives a reason; how long it took until the recording was on the screen, in milliseconds.
  async open(reason) {
    await this.hook('reason').fill(reason);
    // Waits until it can be pressed, which is the test's time and not the console's.
    await this.hook('release').click({ trial: true });
    const began = performance.now();
    await this.hook('release').evaluate((button) => button.click());
    await this.page.locator('[data-testid=replay][data-settled=true]').waitFor();
    return performance.now() - began;
  }

  async state() {
    const { position, duration, playing, waiting, settled } = await this.hook('replay').evaluate(
      (element) => ({ ...element.dataset }),
    );
    const [at, length] = [Number(position), Number(duration)];
    const [isPlaying, isWaiting, isSettled] = [playing, waiting, settled].map((one) => one === 'true');
    return { at, length, isPlaying, isWaiting, isSettled };
  }

  // Goes to a time in microseconds; how long it took until it was on the screen, in milliseconds.
  async seek(at) {
    // The page looks itself, at every picture that it paints: from here each look takes its time.
    const took = await this.page.evaluate(
      ([to, patience]) =>
        new Promise((resolve, reject) => {
          const began = performance.now();
          const look = () => {
            const { position, settled } = document.querySelector('[data-testid=replay]').dataset;
            const passed = performance.now() - began;
            if (settled === 'true' && Math.abs(Number(position) - to) < 2) resolve(passed);
            else if (passed > patience) reject(new Error(`${to} is not shown: ${position} ${settled}`));
            else requestAnimationFrame(look);
          };
          window.consilium.player().seek(to);
          requestAnimationFrame(look);
        }),
      [at, PATIENT.timeout],
    );
    // A tile may say that its picture is late, but not for ever.
    await until(`nothing of ${at} is late`, async () => {
      const late = this.page.locator('[data-testid=stage] [data-picture=late]');
      return (await late.count()) === 0;
    }, PATIENT);
    return took;
  }

  // The recording plays while `look` looks; what was played is noted.
  async whilePlaying(look) {
    const from = (await this.state()).at;
    await this.page.evaluate(() => window.consilium.player().play());
    await until('it plays', async () => (await this.state()).at > from + 100_000, PATIENT);
    const seen = await look();
    await this.page.evaluate(() => window.consilium.player().pause());
    const until_ = (await until('it stands', async () => {
      const now = await this.state();
      return !now.isPlaying && now;
    }, PATIENT)).at;
    this.played.push([from, until_]);
    return seen;
  }

  // How far what plays is from each other, in seconds: once each tenth of a second for so many.
  skews(seconds) {
    return this.page.evaluate(async (count) => {
      const seen = [];
      while (seen.length < count) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        seen.push(window.consilium.player().skew());
      }
      return seen;
    }, seconds * 10);
  }

  // Every tile: who it is, whether its picture is shown or why not, and the picture with its number.
  async pictures() {
    const tiles = await this.page.evaluate(
      (bits) =>
        Array.from(document.querySelectorAll('[data-testid=tile]'), (tile) => {
          const video = tile.querySelector('video');
          const still = video ? window.proof.still(video, bits) : null;
          return [tile.dataset.identity, { picture: tile.dataset.picture, still }];
        }),
      NUMBER_BITS,
    );
    const told = ([who, { picture, still }]) => {
      const isShown = picture === 'shown' && still !== null;
      return [who, isShown ? { picture, ...still, number: readNumber(still.bars) } : { picture }];
    };
    return Object.fromEntries(tiles.map(told));
  }

  // Of shared screens.
  screens() {
    return this.page.evaluate(() =>
      Array.from(document.querySelectorAll('[data-testid=screen] video'), (video) => [
        video.videoWidth,
        video.videoHeight,
      ]),
    );
  }

  // What is heard of everybody, while it plays.
  tones(ms) {
    return this.page.evaluate(async (time) => {
      const heard = {};
      const people = new Map(
        Array.from(document.querySelectorAll('[data-testid=tile]'), (tile) => [
          tile.dataset.person,
          tile.dataset.identity,
        ]),
      );
      const listen = async (audio) => {
        const tone = await window.proof.tone(audio.captureStream(), time);
        heard[people.get(audio.dataset.person)] = tone;
      };
      const sounds = document.querySelectorAll('audio[data-medium=microphone]');
      await Promise.all(Array.from(sounds, listen));
      return heard;
    }, ms);
  }

  // What stands on the timeline: type and time in microseconds.
  timeline() {
    return this.page.evaluate(() =>
      Array.from(document.querySelectorAll('[data-testid=timeline] [data-event]'), (one) => ({
        type: one.dataset.event,
        at: Number(one.dataset.at),
      })),
    );
  }

  async trust() {
    const badge = this.hook('badge');
    return { kind: await badge.getAttribute('data-trust'), words: await badge.innerText() };
  }

  // Puts every exported file into a folder; their paths by name.
  async export(folder) {
    await this.page.getByRole('tab').nth(3).click();
    await this.hook('export').click();
    await this.hook('exported').waitFor();
    const files = {};
    const links = await this.hook('exported').locator('a').all();
    for (const link of links) {
      const name = await link.getAttribute('download');
      files[name] = `${folder}/${name}`;
      const url = await link.getAttribute('href');
      const bytes = await this.page.evaluate((at) => window.proof.blob(at), url);
      writeFileSync(files[name], Buffer.from(bytes, 'base64'));
    }
    // Chromium saves ten files on end and then asks: one shows that they can be saved.
    const saved = this.page.waitForEvent('download');
    await links.at(-1).click();
    expect(readFileSync(await (await saved).path())).toEqual(readFileSync(Object.values(files).at(-1)));
    await this.page.getByRole('tab').first().click();
    return files;
  }

  errors() {
    return this.visitor.console.filter((line) => line.startsWith('error'));
  }

  dump() {
    return this.visitor.dump();
  }

  async close() {
    await this.visitor.browser.close();
  }
}
