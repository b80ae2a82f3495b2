// How long a browser takes to be in a room and hear somebody by each way that a network leaves, and how
// long it hears nothing when UDP ends in mid-call. JOINS and FALLS say how often. Prints JSON. Run in a
// network of its own, in which nft may say what passes.
import { Bare } from './bare.mjs';
import { launch } from './browser.mjs';
import { allowUdp, barUdp } from './firewall.mjs';
import { tokenFor } from './token.mjs';

const { WSS_URL, WSS_WITHOUT_TURN_URL } = process.env;
const joins = Number(process.env.JOINS ?? 20);
const falls = Number(process.env.FALLS ?? 5);

const WAYS = {
  tcp: { url: WSS_WITHOUT_TURN_URL, is: (path) => path.protocol === 'tcp' && path.remote === 'host' },
  relay: {
    url: WSS_URL,
    policy: 'relay',
    is: (path) => path.kind === 'relay' && path.relayProtocol === 'tls',
  },
  udp: { url: WSS_URL, is: (path) => path.protocol === 'udp' && path.remote === 'host' },
};

// Runs in the page: joins, and says after how many milliseconds somebody's voice is heard.
async function join({ url, token, policy }) {
  window.icePolicy = policy;
  const { Room, RoomEvent } = window.LivekitClient;
  const room = new Room();
  window.room = room;
  const heard = new Promise((resolve) => {
    room.on(RoomEvent.TrackSubscribed, async (track) => {
      if (track.kind !== 'audio') return;
      document.body.append(track.attach());
      window.voice = track;
      for (;;) {
        for (const one of (await track.receiver.getStats()).values()) {
          if (one.type === 'inbound-rtp' && one.totalAudioEnergy > 0) return resolve();
        }
        await new Promise((next) => setTimeout(next, 10));
      }
    });
  });
  const began = performance.now();
  await room.connect(url, token);
  await heard;
  return performance.now() - began;
}

// Runs in the page, from the moment when nothing passes any more: the milliseconds until a voice is
// heard by TCP.
async function fallOver() {
  const began = performance.now();
  const energy = async () => {
    for (const one of (await window.voice.receiver.getStats()).values()) {
      if (one.type === 'inbound-rtp') return one.totalAudioEnergy;
    }
    return 0;
  };
  for (let before = await energy(); performance.now() - began < 60_000; ) {
    await new Promise((next) => setTimeout(next, 20));
    const now = await energy();
    const path = await window.proof.path();
    const isElsewhere = path && (path.protocol === 'tcp' || path.kind === 'relay');
    if (isElsewhere && now > before) return performance.now() - began;
    if (!isElsewhere) before = now;
  }
  return null;
}

async function listen(page, way, token) {
  const { url, policy, is } = WAYS[way];
  const took = await page.evaluate(join, { url, token, policy });
  const path = await page.evaluate(() => window.proof.path());
  if (!path || !is(path)) throw new Error(`${way} took another way: ${JSON.stringify(path)}`);
  return took;
}

const browser = await launch();
const speaker = async (way, room) => {
  const { url } = WAYS[way];
  const li = await Bare.enter(browser, 'li', url, await tokenFor('li', room));
  await li.speak(440);
  return li;
};

const times = { tcp: [], relay: [], fall: [] };
for (const way of ['tcp', 'relay']) {
  barUdp();
  const li = await speaker(way, way);
  const wang = await Bare.open(browser, 'wang', WAYS[way].url);
  for (let n = 0; n < joins; n++) {
    times[way].push(await listen(wang.page, way, await tokenFor(`wang-${n}`, way)));
    await wang.page.evaluate(() => window.room.disconnect());
  }
  await wang.close();
  await li.close();
}
for (let n = 0; n < falls; n++) {
  allowUdp();
  const room = `fall-${n}`;
  const li = await speaker('udp', room);
  const wang = await Bare.open(browser, 'wang', WAYS.udp.url);
  await listen(wang.page, 'udp', await tokenFor('wang', room));
  barUdp();
  times.fall.push(await wang.page.evaluate(fallOver));
  await wang.close();
  await li.close();
}
allowUdp();
await browser.close();
console.log(`times ${JSON.stringify(times)}`);
process.exit(0);
