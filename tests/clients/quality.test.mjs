// What is sent of a picture follows what anybody looks at, with rtc-node and with livekit-client in
// Chromium.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { dispose } from '@livekit/rtc-node';
import { afterAll, expect, it } from 'vitest';
import { launch } from './browser.mjs';
import { PEOPLE } from './media.mjs';
import { Narrow } from './narrow.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';
import { until } from './wait.mjs';

const CLIENT = fileURLToPath(
  new URL('./node_modules/livekit-client/dist/livekit-client.umd.js', import.meta.url),
);
const WORKER = CLIENT.replace('client.umd.js', 'client.e2ee.worker.js');
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

// A browser that receives everything but one codec.
function forget(mime) {
  const plain = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function (kind, init) {
    const transceiver = plain.call(this, kind, init);
    if (kind === 'video' && init?.direction === 'recvonly') {
      const { codecs } = RTCRtpReceiver.getCapabilities('video');
      transceiver.setCodecPreferences(codecs.filter((codec) => codec.mimeType !== mime));
    }
    return transceiver;
  };
}

// livekit-client in a page of its own, in the room.
async function enter(browser, who, room, { without, secret } = {}) {
  const context = await browser.newContext({ permissions: ['camera', 'microphone'] });
  const page = await context.newPage();
  if (without) await page.addInitScript(forget, `video/${without}`);
  await page.goto(`${http}/healthz`);
  await page.addScriptTag({ path: CLIENT });
  await page.evaluate(
    async ([address, token, code, secret]) => {
      const { ExternalE2EEKeyProvider, Room } = window.LivekitClient;
      const options = { adaptiveStream: false };
      if (secret) {
        const keyProvider = new ExternalE2EEKeyProvider();
        await keyProvider.setKey(secret);
        const source = URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
        options.e2ee = { keyProvider, worker: new Worker(source) };
      }
      window.room = new Room(options);
      if (secret) await window.room.setE2EEEnabled(true);
      await window.room.connect(address, token);
    },
    [url, await tokenFor(who, room), secret && readFileSync(WORKER, 'utf8'), secret],
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

const isEncrypted = (page) =>
  page.evaluate(() => {
    const [someone] = [...window.room.remoteParticipants.values()];
    return someone.getTrackPublication('camera').isEncrypted;
  });

const ask = (page, quality) =>
  page.evaluate((name) => {
    const [someone] = [...window.room.remoteParticipants.values()];
    const { VideoQuality } = window.LivekitClient;
    someone.getTrackPublication('camera').setVideoQuality(VideoQuality[name]);
  }, quality);

it.each([
  ['vp9', 'in the clear'],
  ['av1', 'in the clear'],
  // The client has no encryption of AV1 end to end.
  ['vp9', 'encrypted end to end', 'a word between them'],
])('gives each the size of one %s stream that he wants, %s', async (codec, _how, secret) => {
  const browser = await launch();
  browsers.push(browser);
  const [li, wang, chen] = [
    await enter(browser, 'li', `${codec} ${secret}`, { secret }),
    await enter(browser, 'wang', `${codec} ${secret}`, { secret }),
    await enter(browser, 'chen', `${codec} ${secret}`, { secret }),
  ];
  await li.evaluate(async (videoCodec) => {
    await window.room.localParticipant.setCameraEnabled(
      true,
      { resolution: { width: 960, height: 540, frameRate: 15 } },
      { videoCodec, scalabilityMode: 'L3T3_KEY', backupCodec: false },
    );
  }, codec);
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
  expect(first.codec).toBe(`video/${codec.toUpperCase()}`);
  expect(await isEncrypted(wang)).toBe(!!secret);

  await until('chen has the picture', async () => (await decoded(chen))?.frames > 0, patience);
  await ask(chen, 'LOW');
  await until('chen sees it small', () => moves(chen, small), patience);
  await until('wang still sees it all', () => moves(wang, large), patience);
  await ask(chen, 'HIGH');
  await until('chen sees it all', () => moves(chen, large), patience);
});

it('sends VP8 to whoever cannot decode AV1, and AV1 to whoever can', async () => {
  const browser = await launch();
  browsers.push(browser);
  const [li, wang, chen] = [
    await enter(browser, 'li', 'backup'),
    await enter(browser, 'wang', 'backup'),
    await enter(browser, 'chen', 'backup', { without: 'AV1' }),
  ];
  await li.evaluate(async () => {
    await window.room.localParticipant.setCameraEnabled(
      true,
      { resolution: { width: 640, height: 360, frameRate: 15 } },
      { videoCodec: 'av1', scalabilityMode: 'L3T3_KEY', backupCodec: { codec: 'vp8' } },
    );
  });
  const moves = async (page, codec) => {
    const before = await decoded(page);
    if (!before?.frames || before.codec !== codec) return false;
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    return (await decoded(page)).frames >= before.frames + 10;
  };
  await until('wang sees AV1', () => moves(wang, 'video/AV1'), patience);
  await until('chen sees VP8', () => moves(chen, 'video/VP8'), patience);
  await until('wang still sees AV1', () => moves(wang, 'video/AV1'), patience);
});

it('brings heart and lung sounds in stereo, as they were', async () => {
  const browser = await launch();
  browsers.push(browser);
  const [li, wang] = [
    await enter(browser, 'li', 'auscultation'),
    await enter(browser, 'wang', 'auscultation'),
  ];
  const tones = { left: 440, right: 1_130 };
  await li.evaluate(async ({ left, right }) => {
    const { AudioPresets, Track } = window.LivekitClient;
    const context = new AudioContext({ sampleRate: 48_000 });
    await context.resume();
    const ears = context.createChannelMerger(2);
    [left, right].forEach((hertz, channel) => {
      const tone = new OscillatorNode(context, { frequency: hertz });
      const volume = new GainNode(context, { gain: 0.3 });
      tone.connect(volume).connect(ears, 0, channel);
      tone.start();
    });
    const out = new MediaStreamAudioDestinationNode(context, { channelCount: 2 });
    ears.connect(out);
    window.stethoscope = { context, out };
    await window.room.localParticipant.publishTrack(out.stream.getAudioTracks()[0], {
      source: Track.Source.Microphone,
      audioPreset: AudioPresets.musicHighQualityStereo,
      forceStereo: true,
      dtx: false,
      red: false,
    });
  }, tones);
  // The loudest tone of each ear, and what the receiver says of the stream.
  const heard = () =>
    wang.evaluate(async () => {
      const [someone] = [...window.room.remoteParticipants.values()];
      const publication = someone?.getTrackPublication('microphone');
      const track = publication?.track;
      if (!track?.receiver) return null;
      if (!window.ears) {
        track.attach();
        const context = new AudioContext({ sampleRate: 48_000 });
        await context.resume();
        const stream = new MediaStream([track.mediaStreamTrack]);
        const source = new MediaStreamAudioSourceNode(context, { mediaStream: stream });
        const split = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
        source.connect(split);
        window.ears = [0, 1].map((channel) => {
          const ear = new AnalyserNode(context, { fftSize: 8_192, smoothingTimeConstant: 0 });
          split.connect(ear, channel);
          return ear;
        });
      }
      const loudest = window.ears.map((ear) => {
        const levels = new Float32Array(ear.frequencyBinCount);
        ear.getFloatFrequencyData(levels);
        const at = levels.indexOf(Math.max(...levels));
        return { hertz: (at * 48_000) / 8_192, level: levels[at] };
      });
      const stats = [...(await track.receiver.getStats()).values()];
      const inbound = stats.find((one) => one.type === 'inbound-rtp');
      const codec = stats.find((one) => one.id === inbound?.codecId);
      const { stereo, disableDtx, disableRed, audioFeatures } = publication.trackInfo;
      return {
        loudest,
        codec: codec?.mimeType,
        line: codec?.sdpFmtpLine ?? '',
        info: { stereo, disableDtx, disableRed, audioFeatures },
      };
    });
  const isTone = ({ hertz, level }, expected) => level > -60 && Math.abs(hertz - expected) < 12;
  const found = await until(
    'wang hears each tone in its own ear',
    async () => {
      const now = await heard();
      const [left, right] = now?.loudest ?? [];
      return left && isTone(left, tones.left) && isTone(right, tones.right) && now;
    },
    patience,
  );
  expect(found.codec).toBe('audio/opus');
  expect(found.line).toContain('stereo=1');
  expect(found.info).toMatchObject({ stereo: true, disableDtx: true, disableRed: true });
  const [isStereo, hasNoSilence] = [0, 1]; // TF_STEREO, TF_NO_DTX
  expect(found.info.audioFeatures).toEqual(expect.arrayContaining([isStereo, hasNoSilence]));
  // What was agreed with the publisher: a bit rate for music.
  const rate = await li.evaluate(() => {
    const sender = window.room.localParticipant.getTrackPublication('microphone').track.sender;
    return sender.getParameters().encodings[0].maxBitrate;
  });
  expect(rate).toBeGreaterThanOrEqual(128_000);
});

// The one place that what the server sends to this page must pass: where the server's own address stands
// in a description or a candidate, the page reads the other, and of TCP it reads nothing.
function lead(narrowed) {
  const native = RTCPeerConnection.prototype;
  const { setRemoteDescription, addIceCandidate } = native;
  const through = (line) =>
    line.replace(/^((?:a=)?candidate:\S+ \d+ udp \d+ 127\.0\.0\.1) (\d+)/i, (_, start, port) => {
      window.foundPort(Number(port));
      return `${start} ${narrowed}`;
    });
  const isTcp = (line) => /^(?:a=)?candidate:\S+ \d+ tcp /i.test(line);
  native.setRemoteDescription = function set(description) {
    const lines = description.sdp.split('\r\n').filter((line) => !isTcp(line));
    const sdp = lines.map(through).join('\r\n');
    return setRemoteDescription.call(this, { type: description.type, sdp });
  };
  native.addIceCandidate = function add(init) {
    if (!init?.candidate) return addIceCandidate.call(this, init);
    if (isTcp(init.candidate)) return Promise.resolve();
    const { sdpMid, sdpMLineIndex, usernameFragment } = init;
    const candidate = through(init.candidate);
    return addIceCandidate.call(this, { candidate, sdpMid, sdpMLineIndex, usernameFragment });
  };
}

it('gives a thin link sound, and as much of the picture as fits', async () => {
  const browser = await launch();
  browsers.push(browser);
  const li = await enter(browser, 'li', 'thin');
  await li.evaluate(async () => {
    const { AudioPresets } = window.LivekitClient;
    const me = window.room.localParticipant;
    await me.setCameraEnabled(true, { resolution: { width: 960, height: 540, frameRate: 15 } });
    await me.setMicrophoneEnabled(true, {}, { audioPreset: AudioPresets.speech, dtx: false, red: false });
  });

  const narrow = await Narrow.open();
  const context = await browser.newContext();
  const wang = await context.newPage();
  await wang.exposeFunction('foundPort', (port) => narrow.lead(port));
  await wang.goto(`${http}/healthz`);
  await wang.addScriptTag({ path: CLIENT });
  await wang.evaluate(lead, narrow.port);
  await wang.evaluate(
    async ([address, token]) => {
      const { Room, RoomEvent } = window.LivekitClient;
      window.states = [];
      // Whoever adapts to what is looked at may be left without it for a while, and is told.
      window.room = new Room({ adaptiveStream: { pixelDensity: 1 } });
      window.room.on(RoomEvent.TrackStreamStateChanged, (_, state) => window.states.push(state));
      window.room.on(RoomEvent.TrackSubscribed, (track) => {
        const element = track.attach();
        if (track.kind === 'video') Object.assign(element.style, { width: '960px', height: '540px' });
        document.body.append(element);
      });
      await window.room.connect(address, token);
    },
    [url, await tokenFor('wang', 'thin')],
  );
  const heard = () =>
    wang.evaluate(async () => {
      const [someone] = [...window.room.remoteParticipants.values()];
      const track = someone?.getTrackPublication('microphone')?.track;
      const stats = track ? [...(await track.receiver.getStats()).values()] : [];
      return stats.find((one) => one.type === 'inbound-rtp')?.packetsReceived ?? 0;
    });
  const listens = async () => {
    const before = await heard();
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    // Of 150; the machine may be slow, but it may not be silent.
    return (await heard()) - before > 100;
  };
  const shows = async (is) => {
    const before = await decoded(wang);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const after = await decoded(wang);
    return after?.frames > before?.frames && is(after.width) && after;
  };
  const states = () => wang.evaluate(() => window.states);

  await until('wang sees it all', () => shows((width) => width === 960), patience);
  expect(narrow.carried).toBeGreaterThan(100);
  narrow.limit(300_000);
  await until('the picture is smaller, and moves', () => shows((width) => width < 960), patience);
  await until('li is heard', listens, patience);
  expect(narrow.dropped + narrow.carried).toBeGreaterThan(100);
  narrow.limit(75_000);
  await until('wang is told that it is gone', async () => (await states()).at(-1) === 'paused', patience);
  await until('li is still heard', listens, patience);
  narrow.limit(Number.POSITIVE_INFINITY);
  await until('wang is told that it is back', async () => (await states()).at(-1) === 'active', patience);
  await until('wang sees it all again', () => shows((width) => width === 960), patience);
  await until('li is heard all along', listens, patience);
  narrow.close();
});
