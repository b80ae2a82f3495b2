// What is sent of a picture follows what anybody looks at, with rtc-node and with livekit-client in
// Chromium.
import { fileURLToPath } from 'node:url';
import { dispose } from '@livekit/rtc-node';
import { afterAll, expect, it } from 'vitest';
import { launch } from './browser.mjs';
import { PEOPLE } from './media.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';
import { until } from './wait.mjs';

const CLIENT = fileURLToPath(
  new URL('./node_modules/livekit-client/dist/livekit-client.umd.js', import.meta.url),
);
const url = process.env.LIVEKIT_URL;
const http = url.replace('ws:', 'http:');
// The machine may be slow and shared.
const patience = { timeout: 120_000, interval: 500 };
const people = [];
const browsers = [];

afterAll(async () => {
  await Promise.all(people.map((person) => person.leave()));
  await Promise.all(browsers.map((browser) => browser.close()));
  await dispose();
});

// Packets sent so far of each encoding of somebody's pictures.
async function sent(person) {
  const { publisherStats, subscriberStats } = await person.room.getRtcStats();
  const found = {};
  for (const { stats } of [...publisherStats, ...subscriberStats]) {
    if (stats.case !== 'outboundRtp' || stats.value.stream.kind !== 'video') continue;
    found[stats.value.outbound.rid] = Number(stats.value.sent.packetsSent);
  }
  return found;
}

it('stops what nobody watches and starts it again', async () => {
  const [li, wang] = await Promise.all(
    ['li', 'wang'].map(async (who) => Person.join(url, await tokenFor(who, 'unwatched'))),
  );
  people.push(li, wang);
  await li.show(PEOPLE.li.rgb, { width: 640, height: 360 });
  await until('wang sees li', () => wang.sees('li').frames > 30, patience);
  const [publication] = [...wang.room.remoteParticipants.get('li').trackPublications.values()];

  publication.setSubscribed(false);
  const stood = await until(
    'nothing is sent any more',
    async () => {
      const before = await sent(li);
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      const after = await sent(li);
      return JSON.stringify(before) === JSON.stringify(after) && after;
    },
    patience,
  );
  expect(Object.values(stood).some((packets) => packets > 0)).toBe(true);

  const { frames } = wang.sees('li');
  publication.setSubscribed(true);
  await until('wang sees li again', () => wang.sees('li').frames > frames + 30, patience);
});

// livekit-client in a page of its own, in the room.
async function enter(browser, who, room) {
  const context = await browser.newContext({ permissions: ['camera', 'microphone'] });
  const page = await context.newPage();
  await page.goto(`${http}/healthz`);
  await page.addScriptTag({ path: CLIENT });
  await page.evaluate(
    async ([address, token]) => {
      window.room = new window.LivekitClient.Room({ adaptiveStream: false });
      await window.room.connect(address, token);
    },
    [url, await tokenFor(who, room)],
  );
  return page;
}

// What Chromium decodes of the one picture there is.
const decoded = (page) =>
  page.evaluate(async () => {
    const [someone] = [...window.room.remoteParticipants.values()];
    const track = someone?.getTrackPublication('camera')?.track;
    if (!track?.receiver) return null;
    const stats = [...(await track.receiver.getStats()).values()];
    const inbound = stats.find((one) => one.type === 'inbound-rtp');
    const codec = stats.find((one) => one.id === inbound?.codecId);
    const { framesDecoded: frames, frameWidth: width } = inbound ?? {};
    return { frames, width, codec: codec?.mimeType };
  });

const ask = (page, quality) =>
  page.evaluate((name) => {
    const [someone] = [...window.room.remoteParticipants.values()];
    const { VideoQuality } = window.LivekitClient;
    someone.getTrackPublication('camera').setVideoQuality(VideoQuality[name]);
  }, quality);

it('gives each the size of one VP9 stream that he wants', async () => {
  const browser = await launch();
  browsers.push(browser);
  const [li, wang, chen] = [
    await enter(browser, 'li', 'scalable'),
    await enter(browser, 'wang', 'scalable'),
    await enter(browser, 'chen', 'scalable'),
  ];
  await li.evaluate(async () => {
    await window.room.localParticipant.setCameraEnabled(
      true,
      { resolution: { width: 960, height: 540, frameRate: 15 } },
      { videoCodec: 'vp9', scalabilityMode: 'L3T3_KEY', backupCodec: false },
    );
  });
  const moves = async (page, is) => {
    const before = await decoded(page);
    if (!before?.frames || !is(before.width)) return false;
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const after = await decoded(page);
    return after.frames >= before.frames + 10 && is(after.width) && after;
  };
  const large = (width) => width === 960;
  const small = (width) => width === 240;
  const first = await until('wang sees it all', () => moves(wang, large), patience);
  expect(first.codec).toBe('video/VP9');

  await until('chen has the picture', async () => (await decoded(chen))?.frames > 0, patience);
  await ask(chen, 'LOW');
  await until('chen sees it small', () => moves(chen, small), patience);
  await until('wang still sees it all', () => moves(wang, large), patience);
  await ask(chen, 'HIGH');
  await until('chen sees it all', () => moves(chen, large), patience);
});
