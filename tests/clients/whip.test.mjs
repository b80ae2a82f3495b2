// Medical devices in a room: encoders that are not ours publish over WHIP, Dr. Li watches them in
// Chromium through the real page, and the device's maker with rtc-node.
import { dispose } from '@livekit/rtc-node';
import { RoomServiceClient } from 'livekit-server-sdk';
import { afterAll, beforeAll, expect, it, onTestFailed } from 'vitest';
import { launch } from './browser.mjs';
import { Encoder } from './encoder.mjs';
import { files, PEOPLE } from './media.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';
import { Visitor } from './visitor.mjs';
import { until } from './wait.mjs';

const { PAGE_URL, LIVEKIT_URL, MEDIA_FOLDER } = process.env;
const ROOM = 'examination';
const service = new RoomServiceClient(PAGE_URL, 'devkey', 'secret');
const scene = PEOPLE.zhou;
// Lossy coding and a small picture move a colour by far less than to another's.
const isOrange = ([r, g, b]) => r > 180 && g > 80 && g < 180 && b < 90;
const isTone = ({ hz }, wanted) => Math.abs(hz - wanted) <= 10;

let li;
let maker;
beforeAll(async () => {
  li = await Visitor.open('li', PAGE_URL, await tokenFor('li', ROOM), files('li', MEDIA_FOLDER));
  await li.join();
  maker = await Person.join(LIVEKIT_URL, await tokenFor('maker', ROOM));
});
afterAll(async () => {
  await Promise.allSettled([li?.browser.close(), maker?.leave()]);
  await dispose();
});

const isHere = (device) => maker.room.remoteParticipants.has(device);
const tokenOf = (device) => tokenFor(device, ROOM, { canSubscribe: false });

// Both see the device's moving picture in its colour and hear its tone, by the name of the device.
const expectToBeSeen = async (device, { rgb, hz }) => {
  await until('the maker sees it', () => {
    const { frames, change, size } = maker.sees(device);
    return isOrange(maker.sees(device).rgb) && frames > 15 && change > 1 && size;
  });
  expect(rgb).toEqual(scene.rgb);
  await until('the maker hears it', () => isTone(maker.hears(device), hz));
  await until('li sees it', async () => {
    const seen = await li.sees(device);
    return seen && isOrange(seen.rgb) && seen.change > 1;
  });
  await until('li hears it', async () => isTone((await li.hears(device)) ?? {}, hz));
  const tracks = [...maker.room.remoteParticipants.get(device).trackPublications.values()];
  expect(tracks.map((track) => track.name)).toEqual(['otoscope', 'otoscope']);
};

const told = (encoder) => {
  onTestFailed(async () => console.error(encoder.said, await li.dump()));
};

for (const [program, codec] of [
  ['aiortc', 'vp8'],
  ['aiortc', 'h264'],
  ['ffmpeg', 'h264'],
  ['gstreamer', 'vp8'],
  ['gstreamer', 'h264'],
]) {
  it(`${program} shows ${codec} and is heard, until it ends its session`, async () => {
    const device = `${program}-${codec}`;
    const url = `${PAGE_URL}/whip?label=otoscope`;
    const encoder = Encoder.start(program, url, await tokenOf(device), codec, scene);
    told(encoder);
    await expectToBeSeen(device, scene);
    const { tracks } = await service.getParticipant(ROOM, device);
    const mimes = tracks.map((track) => track.mimeType.toLowerCase()).sort();
    expect(mimes).toEqual(['audio/opus', `video/${codec}`]);
    if (program !== 'ffmpeg') expect(encoder.said).toContain('trickled 204');
    await encoder.end();
    expect(encoder.said).toContain('ended');
    await until('it is gone', () => !isHere(device));
  });
}

it('a moderator mutes a device and removes it, whatever it does', async () => {
  const device = 'stubborn';
  const url = `${PAGE_URL}/whip/${ROOM}?label=otoscope`;
  const encoder = Encoder.start('aiortc', url, await tokenOf(device), 'vp8', scene);
  told(encoder);
  await expectToBeSeen(device, scene);
  const { tracks } = await service.getParticipant(ROOM, device);
  const picture = tracks.find((track) => track.mimeType === 'video/VP8');
  await service.mutePublishedTrack(ROOM, device, picture.sid, true);
  await until('no picture comes any more', async () => {
    const before = maker.sees(device).frames;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    return maker.sees(device).frames === before;
  });
  await service.removeParticipant(ROOM, device);
  await until('it is gone', () => !isHere(device));
  encoder.kill();
});

it('a device whose cable is pulled is gone by itself', async () => {
  const device = 'broken';
  const url = `${PAGE_URL}/whip?label=otoscope`;
  const encoder = Encoder.start('aiortc', url, await tokenOf(device), 'vp8', scene);
  told(encoder);
  await until('it is here', () => isHere(device) && maker.sees(device).frames > 0);
  encoder.kill();
  await until('it is gone', () => !isHere(device), { timeout: 120_000 });
});

// Runs in the page: what a browser needs to be an encoder, and a restart of ICE as RFC 9725 has it.
const inBrowser = {
  publish: async ({ url, token }) => {
    const media = await navigator.mediaDevices.getUserMedia({
      video: { width: 640, height: 360 },
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
    const peer = new RTCPeerConnection();
    for (const track of media.getTracks()) {
      peer.addTransceiver(track, { direction: 'sendonly', streams: [media] });
    }
    await peer.setLocalDescription();
    const authorization = `Bearer ${token}`;
    const posted = await fetch(url, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/sdp' },
      body: peer.localDescription.sdp,
    });
    const sdp = await posted.text();
    await peer.setRemoteDescription({ type: 'answer', sdp });
    const session = new URL(posted.headers.get('location'), location.href).href;
    window.encoder = { peer, session, authorization, answer: sdp, tag: posted.headers.get('etag') };
    return posted.status;
  },
  restart: async () => {
    const { peer, session, authorization, answer, tag } = window.encoder;
    peer.restartIce();
    await peer.setLocalDescription();
    const offer = peer.localDescription.sdp;
    const line = (sdp, name) => sdp.match(new RegExp(`a=${name}:.*`))[0];
    const fragment = ['ice-ufrag', 'ice-pwd'].map((name) => `${line(offer, name)}\r\n`).join('');
    const patch = (match) =>
      fetch(session, {
        method: 'PATCH',
        headers: {
          authorization,
          'content-type': 'application/trickle-ice-sdpfrag',
          'if-match': match,
        },
        body: fragment,
      });
    const patched = await patch('*');
    const told = await patched.text();
    const sdp = answer
      .replaceAll(/a=ice-ufrag:.*/g, line(told, 'ice-ufrag'))
      .replaceAll(/a=ice-pwd:.*/g, line(told, 'ice-pwd'));
    await peer.setRemoteDescription({ type: 'answer', sdp });
    const fresh = patched.headers.get('etag');
    const stale = (await patch(tag)).status;
    const late = (await patch(fresh)).status;
    return { status: patched.status, isFresh: fresh !== tag, stale, late };
  },
  used: async () => {
    const { peer } = window.encoder;
    const stats = [...(await peer.getStats()).values()];
    const pair = stats.find((one) => one.type === 'candidate-pair' && one.nominated);
    const sent = stats.find((one) => one.type === 'transport');
    return { ufrag: sent.iceLocalUsernameFragment, state: sent.dtlsState, pair: pair?.state };
  },
  end: async () => {
    const { peer, session, authorization } = window.encoder;
    const ended = await fetch(session, { method: 'DELETE', headers: { authorization } });
    peer.close();
    return ended.status;
  },
};

it('a browser is an encoder too, and goes on after a restart of ICE', async () => {
  const device = 'chromium';
  const browser = await launch(files('zhou', MEDIA_FOLDER));
  try {
    const context = await browser.newContext({ permissions: ['camera', 'microphone'] });
    const page = await context.newPage();
    await page.goto(PAGE_URL);
    const url = `${PAGE_URL}/whip?label=otoscope`;
    const token = await tokenOf(device);
    expect(await page.evaluate(inBrowser.publish, { url, token })).toBe(201);
    onTestFailed(async () => console.error(await li.dump()));
    await expectToBeSeen(device, scene);
    const { sid } = maker.room.remoteParticipants.get(device);
    const before = await page.evaluate(inBrowser.used);
    const restarted = await page.evaluate(inBrowser.restart);
    expect(restarted).toEqual({ status: 200, isFresh: true, stale: 412, late: 204 });
    await until('the new credentials are used', async () => {
      const now = await page.evaluate(inBrowser.used);
      return now.ufrag !== before.ufrag && now.state === 'connected' && now.pair === 'succeeded';
    });
    const { frames } = maker.sees(device);
    await until('pictures go on', () => maker.sees(device).frames > frames + 15);
    expect(maker.room.remoteParticipants.get(device).sid).toBe(sid);
    expect(await page.evaluate(inBrowser.end)).toBe(200);
    await until('it is gone', () => !isHere(device));
  } finally {
    await browser.close();
  }
});
