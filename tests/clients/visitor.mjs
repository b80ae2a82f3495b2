// A participant in a real browser, through the real page: does what a person does with it, and
// looks at what it shows with the proofs of proof.js.
import { fileURLToPath } from 'node:url';
import { launch } from './browser.mjs';
import { until } from './wait.mjs';

const PROOF = fileURLToPath(new URL('./proof.js', import.meta.url));

export class Visitor {
  console = [];

  constructor(browser, page, identity) {
    Object.assign(this, { browser, page, identity });
    page.on('console', (message) => this.console.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => this.console.push(`error: ${error.stack}`));
  }

  // Opens `url` in a browser of its own with the fake camera and microphone given.
  static async open(identity, url, token, media, icePolicy) {
    const browser = await launch(media);
    return Visitor.#in(browser, identity, url, token, icePolicy);
  }

  // Opens `url` in a further, separate window of somebody's browser.
  static async beside(other, identity, url, token) {
    return Visitor.#in(other.browser, identity, url, token);
  }

  // Opens a whole address, as from a link, with nothing but what everybody has.
  static async link(identity, address, options = {}) {
    const browser = await launch();
    const context = await browser.newContext({
      locale: 'en-GB',
      viewport: { width: 1440, height: 900 },
      ...options,
    });
    const page = await context.newPage();
    await page.addInitScript({ path: PROOF });
    const visitor = new Visitor(browser, page, identity);
    await page.goto(address);
    return visitor;
  }

  static async #in(browser, identity, url, token, icePolicy) {
    const context = await browser.newContext({
      permissions: ['camera', 'microphone'],
      locale: 'en-GB',
      viewport: { width: 1280, height: 800 },
    });
    const page = await context.newPage();
    if (icePolicy) await page.addInitScript(`window.icePolicy = '${icePolicy}'`);
    await page.addInitScript({ path: PROOF });
    const visitor = new Visitor(browser, page, identity);
    await page.goto(`${url}/#token=${token}`);
    return visitor;
  }

  control(testId) {
    return this.page.getByTestId(testId);
  }

  // Presses a button without waiting for the page to stand still, which a busy machine never does.
  async press(testId) {
    await this.control(testId).evaluate((button) => button.click());
  }

  async join() {
    await this.control('join-button').click();
    await this.page.locator('[data-testid="room"][data-phase="inside"]').waitFor();
  }

  tile(identity, source = 'camera') {
    return this.page.locator(
      `[data-testid="tile"][data-identity="${identity}"][data-source="${source}"]`,
    );
  }

  // The picture of somebody as it is shown: colour, change, size; null when there is none.
  async sees(identity, source = 'camera', ms = 700) {
    const video = this.tile(identity, source).locator('video');
    if ((await video.count()) === 0) return null;
    return video.evaluate((element, wait) => window.proof.picture(element, wait), ms);
  }

  // The sound of somebody as it is played.
  async hears(identity) {
    const audio = this.page.locator(`audio[data-identity="${identity}"][data-source="microphone"]`);
    if ((await audio.count()) === 0) return null;
    return audio.evaluate((element) => window.proof.tone(element.srcObject));
  }

  // The inbound stream behind somebody's picture or sound.
  async inbound(identity, source = 'camera') {
    const element =
      source === 'microphone'
        ? this.page.locator(`audio[data-identity="${identity}"][data-source="microphone"]`)
        : this.tile(identity, source).locator('video');
    if ((await element.count()) === 0) return null;
    return element.evaluate((e) => window.proof.inbound(e.srcObject?.getTracks()[0]));
  }

  // Watches somebody's picture until `unwatch`, which tells what was seen.
  async watch(identity) {
    const selector = `[data-testid="tile"][data-identity="${identity}"][data-source="camera"] video`;
    await this.page.evaluate((which) => window.proof.watch(which), selector);
  }

  async unwatch() {
    return this.page.evaluate(() => window.proof.unwatch());
  }

  async path() {
    return this.page.evaluate(() => window.proof.path());
  }

  async transports() {
    return this.page.evaluate(() => window.proof.transports());
  }

  async openChat() {
    const input = this.control('chat-input');
    if (await input.isVisible()) return;
    await this.control('chat-button').click();
    await input.waitFor();
  }

  async say(text) {
    await this.openChat();
    await this.control('chat-input').fill(text);
    await this.control('chat-send').click();
  }

  async reads() {
    await this.openChat();
    return this.control('message').allInnerTexts();
  }

  // What there is to know when a proof failed.
  async dump() {
    const stats = await this.page.evaluate(() => window.proof.dump()).catch((e) => [String(e)]);
    const shown = await this.page.locator('body').innerText().catch(String);
    return [`== ${this.identity}`, shown, ...this.console, ...stats].join('\n');
  }

  async leave() {
    await this.control('leave-button').click();
    await until('the room is left', async () => !(await this.control('controls').isVisible()));
  }

  async close() {
    await this.page.context().close();
  }
}
