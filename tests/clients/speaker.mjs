// A browser that speaks one endless tone into a room and does nothing else: the person whose line is
// cut in tests/python/recovery.py. Arguments: the server's URL and a token; ends with its input.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { launch } from './browser.mjs';

const [url, token] = process.argv.slice(2);
const sdk = readFileSync(createRequire(import.meta.url).resolve('livekit-client'));

// The SDK is what `require` names: one script that leaves everything in `LivekitClient`.
const page = '<!doctype html><meta charset="utf-8"><script src="/sdk.js"></script>';
const server = createServer((request, response) => {
  const script = request.url === '/sdk.js';
  response.setHeader('content-type', script ? 'text/javascript' : 'text/html');
  response.end(script ? sdk : page);
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));

async function speak({ url, token }) {
  const { Room, RoomEvent, Track, setLogLevel } = globalThis.LivekitClient;
  setLogLevel('debug');
  const context = new AudioContext();
  const tone = new OscillatorNode(context, { frequency: 440 });
  const out = context.createMediaStreamDestination();
  tone.connect(out);
  tone.start();
  const room = new Room();
  for (const event of [RoomEvent.SignalReconnecting, RoomEvent.Reconnecting, RoomEvent.Reconnected]) {
    room.on(event, () => console.info(`room: ${event}`));
  }
  await room.connect(url, token);
  const options = { source: Track.Source.Microphone, dtx: false };
  await room.localParticipant.publishTrack(out.stream.getAudioTracks()[0], options);
}

const browser = await launch();
const tab = await browser.newPage();
tab.on('console', (line) => {
  const now = new Date();
  console.error(now.toTimeString().slice(0, 8), now.getMilliseconds(), line.text().slice(0, 300));
});
await tab.goto(`http://127.0.0.1:${server.address().port}/`);
await tab.evaluate(speak, { url, token });
process.stdin.resume();
await new Promise((ended) => process.stdin.on('end', ended));
await browser.close();
process.exit();
