// A participant in the system's Firefox, through the real page. Driven by puppeteer over WebDriver
// BiDi, because Playwright drives only a Firefox of its own. The camera shows Firefox's own pattern
// and the microphone its own tone: Firefox plays no files.
import { readFileSync } from 'node:fs';
import puppeteer from 'puppeteer-core';

export const FIREFOX = process.env.FIREFOX ?? '/usr/bin/firefox-esr';
const PROOF = readFileSync(new URL('./proof.js', import.meta.url), 'utf8');
// Firefox on a busy machine needs 10 s to start.
const PATIENCE_MS = 60_000;

const PREFERENCES = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  // Nobody answers multicast DNS here.
  'media.peerconnection.ice.obfuscate_host_addresses': false,
};

const tile = (identity) =>
  `[data-testid="tile"][data-identity="${identity}"][data-source="camera"]`;

export class FirefoxVisitor {
  console = [];

  constructor(browser, page, identity) {
    Object.assign(this, { browser, page, identity });
    page.on('console', (message) => this.console.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => this.console.push(`error: ${error.stack}`));
  }

  static async open(identity, url, token) {
    const browser = await puppeteer.launch({
      browser: 'firefox',
      executablePath: FIREFOX,
      headless: true,
      timeout: PATIENCE_MS,
      protocolTimeout: PATIENCE_MS,
      extraPrefsFirefox: PREFERENCES,
    });
    const page = await browser.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    await page.setViewport({ width: 1280, height: 800 });
    await page.evaluateOnNewDocument(PROOF);
    const visitor = new FirefoxVisitor(browser, page, identity);
    await page.goto(`${url}/#token=${token}`);
    return visitor;
  }

  async click(testId) {
    await this.page.locator(`[data-testid="${testId}"]`).click();
  }

  async join() {
    await this.click('join-button');
    await this.page.waitForSelector('[data-testid="room"][data-phase="inside"]');
  }

  // The picture of somebody as it is shown: colour, change, size; null when there is none.
  async sees(identity) {
    return this.page.evaluate(
      (selector) => window.proof.picture(document.querySelector(selector)),
      `${tile(identity)} video`,
    );
  }

  // The inbound stream behind somebody's picture or sound.
  async inbound(identity, source = 'camera') {
    const selector =
      source === 'microphone'
        ? `audio[data-identity="${identity}"][data-source="microphone"]`
        : `${tile(identity)} video`;
    return this.page.evaluate((which) => {
      const element = document.querySelector(which);
      return element && window.proof.inbound(element.srcObject?.getTracks()[0]);
    }, selector);
  }

  // What there is to know when a proof failed.
  async dump() {
    const stats = await this.page.evaluate(() => window.proof.dump()).catch((e) => [String(e)]);
    const shown = await this.page.evaluate(() => document.body.innerText).catch(String);
    return [`== ${this.identity} (Firefox)`, shown, ...this.console, ...stats].join('\n');
  }
}
