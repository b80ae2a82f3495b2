// Fake media of the tests: everyone has a colour and a tone of their own, and a mark that moves, so
// that a test can tell whose picture and sound arrived and that the picture is alive.
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

export const SAMPLE_RATE = 48_000;
export const WIDTH = 640;
export const HEIGHT = 360;
export const FRAMES_PER_SECOND = 15;
// Numbers of pictures begin again after 2048: two minutes at fifteen a second.
export const NUMBER_BITS = 11;

// Tones that are no multiples of each other: a distorted one cannot pass for another's.
export const PEOPLE = {
  li: { colour: 'red', rgb: [255, 0, 0], hz: 440 },
  wang: { colour: 'lime', rgb: [0, 255, 0], hz: 700 },
  chen: { colour: 'blue', rgb: [0, 0, 255], hz: 1130 },
  zhou: { colour: 'orange', rgb: [255, 128, 0], hz: 1830 },
};

// Files for Chromium's fake camera and microphone; both loop without a click at the seam.
export function files(who, folder) {
  const { colour, hz } = PEOPLE[who];
  mkdirSync(folder, { recursive: true });
  const video = join(folder, `${who}.mjpeg`);
  const audio = join(folder, `${who}.wav`);
  const rate = `r=${FRAMES_PER_SECOND}:d=8`;
  const scene = [
    `color=${colour}:s=${WIDTH}x${HEIGHT}:${rate}[wall]`,
    `color=white:s=80x80:${rate}[mark]`,
    "[wall][mark]overlay=x='mod(n*16,640)':y=230[moving]",
    "[moving]drawtext=text='%{n}':fontsize=90:fontcolor=white:box=1:boxcolor=black:x=(w-tw)/2:y=60",
  ];
  make(video, [
    ...['-f', 'lavfi', '-i', scene.join(';')],
    ...['-q:v', '3', '-pix_fmt', 'yuvj420p', '-c:v', 'mjpeg'],
  ]);
  make(audio, [
    ...['-f', 'lavfi', '-i', `sine=frequency=${hz}:sample_rate=${SAMPLE_RATE}:duration=4`],
    ...['-ac', '1'],
  ]);
  return { video, audio };
}

// Files for a fake camera whose every picture says its number in bars, and for its microphone.
export function numberedFiles(who, folder, count = 2 ** NUMBER_BITS) {
  mkdirSync(folder, { recursive: true });
  const video = join(folder, `${who}-numbered-${count}.mjpeg`);
  const audio = join(folder, `${who}-wavering.wav`);
  // Chromium takes a tone that stays the same for noise and takes it away.
  const wavering = `sine=frequency=${PEOPLE[who].hz}:sample_rate=${SAMPLE_RATE}:duration=4,tremolo=f=4:d=0.9`;
  make(audio, ['-f', 'lavfi', '-i', wavering, '-ac', '1']);
  if (existsSync(video)) return { video, audio };
  const raw = join(folder, `draft-${process.pid}-${who}.i420`);
  const out = openSync(raw, 'w');
  for (let n = 0; n < count; n++) {
    writeSync(out, number(picture(PEOPLE[who].rgb, n), n));
  }
  closeSync(out);
  make(video, [
    ...['-f', 'rawvideo', '-pix_fmt', 'yuv420p', '-s', `${WIDTH}x${HEIGHT}`],
    ...['-r', String(FRAMES_PER_SECOND), '-i', raw],
    ...['-q:v', '3', '-pix_fmt', 'yuvj420p', '-c:v', 'mjpeg'],
  ]);
  rmSync(raw);
  return { video, audio };
}

// Writes a number into a picture: white and black bars in its lowest eighth, least bit left. They
// stay readable in a quarter of the size and at the bit rate of a first second.
export function number(frame, n, width = WIDTH, height = HEIGHT) {
  const from = Math.floor((height * 7) / 8);
  for (let bit = 0; bit < NUMBER_BITS; bit++) {
    const left = Math.round((bit * width) / NUMBER_BITS);
    const right = Math.round(((bit + 1) * width) / NUMBER_BITS);
    const luma = (n >> bit) & 1 ? 235 : 16;
    for (let y = from; y < height; y++) frame.fill(luma, y * width + left, y * width + right);
  }
  const [chroma, cw] = [width * height, width / 2];
  for (const plane of [chroma, chroma + chroma / 4]) {
    frame.fill(128, plane + (from / 2) * cw, plane + (height / 2) * cw);
  }
  return frame;
}

// The number in one row of brightness, one value for each bar; null where a bar is neither.
export function readNumber(bars) {
  let n = 0;
  for (const [bit, luma] of bars.entries()) {
    if (luma > 88 && luma < 168) return null;
    if (luma >= 168) n += 2 ** bit;
  }
  return n;
}

// Every picture of a recorded file: when it is shown, in seconds, its number, and its mean colour
// without the bars and the mark, which are of no colour. `stream` counts the file's pictures only.
export function numbersIn(file, stream = 0) {
  const run = (program, options) =>
    execFileSync(program, ['-v', 'error', ...options], { maxBuffer: 1 << 28 });
  const packets = ['-select_streams', `v:${stream}`, '-show_entries', 'packet=pts_time', '-of', 'csv=p=0'];
  const times = String(run('ffprobe', [...packets, file]))
    .split('\n')
    .map((line) => Number.parseFloat(line))
    .filter((time) => Number.isFinite(time));
  // The middle of the bars, each made one point, and a row of points of all that is above the mark.
  const filter = [
    `[0:v:${stream}]format=gbrp,split[a][b]`,
    `[a]crop=iw:ih/32:0:ih*15/16,scale=${NUMBER_BITS}:1:flags=area[bars]`,
    `[b]crop=iw:ih*15/32:0:0,scale=${NUMBER_BITS}:1:flags=area[wall]`,
    '[bars][wall]vstack,format=rgb24',
  ];
  // Times as fine as they were: ffmpeg would complain of two pictures in one fifteenth of a second.
  const fine = ['-vsync', 'passthrough', '-enc_time_base', '1:1000'];
  const raw = ['-i', file, '-filter_complex', filter.join(';'), ...fine, '-f', 'rawvideo', '-'];
  const points = run('ffmpeg', raw);
  const row = NUMBER_BITS * 3;
  const mean = (bytes, channel) =>
    bytes.reduce((sum, value, i) => (i % 3 === channel ? sum + value : sum), 0) / NUMBER_BITS;
  return times.map((at, i) => {
    const [bars, wall] = [0, 1].map((n) => points.subarray((2 * i + n) * row, (2 * i + n + 1) * row));
    const luma = Array.from({ length: NUMBER_BITS }, (_, n) => bars[n * 3 + 1]);
    return {
      at,
      number: bars.length === row ? readNumber(luma) : null,
      rgb: [0, 1, 2].map((channel) => Math.round(mean(wall, channel))),
    };
  });
}

// The sound of a recorded file as samples, the first one at the recording's start.
export function soundIn(file) {
  const still = ['-copyts', '-i', file, '-af', 'aresample=async=1:first_pts=0'];
  const plain = ['-ac', '1', '-ar', String(SAMPLE_RATE), '-f', 's16le', '-'];
  const raw = execFileSync('ffmpeg', ['-v', 'error', ...still, ...plain], { maxBuffer: 1 << 30 });
  return new Int16Array(raw.buffer, raw.byteOffset, raw.length >> 1);
}

function make(file, options) {
  if (existsSync(file)) return;
  // Written aside and renamed: an interrupted run leaves no half file, which a browser would
  // report as "no camera".
  const [, name, extension] = /([^/]+)\.(\w+)$/.exec(file);
  const draft = file.replace(`${name}.${extension}`, `draft-${process.pid}-${name}.${extension}`);
  execFileSync('ffmpeg', ['-y', '-loglevel', 'error', ...options, draft], { stdio: 'inherit' });
  renameSync(draft, file);
}

// One I420 frame of `rgb` with a white mark that moves with `n`.
export function picture([r, g, b], n, width = WIDTH, height = HEIGHT) {
  const luma = 16 + 0.257 * r + 0.504 * g + 0.098 * b;
  const blue = 128 - 0.148 * r - 0.291 * g + 0.439 * b;
  const red = 128 + 0.439 * r - 0.368 * g - 0.071 * b;
  const frame = new Uint8Array((width * height * 3) / 2);
  const quarter = (width * height) / 4;
  frame.fill(luma, 0, width * height);
  frame.fill(blue, width * height, width * height + quarter);
  frame.fill(red, width * height + quarter);
  const side = Math.floor(width / 8);
  const from = (n * 16) % (width - side);
  for (let y = Math.floor(height / 2); y < Math.floor(height / 2) + side; y++) {
    frame.fill(235, y * width + from, y * width + from + side);
  }
  return frame;
}

// Ten milliseconds of a tone, from sample `from` on.
export function tone(hz, from) {
  const samples = new Int16Array(SAMPLE_RATE / 100);
  for (let i = 0; i < samples.length; i++) {
    samples[i] = 8_000 * Math.sin((2 * Math.PI * hz * (from + i)) / SAMPLE_RATE);
  }
  return samples;
}

// The strongest frequency between 100 and 2000 Hz and the level, of about a second of sound.
export function loudest(samples, rate = SAMPLE_RATE) {
  let best = { hz: 0, power: 0 };
  for (let hz = 100; hz <= 2_000; hz += 5) {
    const power = goertzel(samples, hz, rate);
    if (power > best.power) best = { hz, power };
  }
  const level = Math.sqrt(samples.reduce((sum, s) => sum + s * s, 0) / Math.max(1, samples.length));
  return { hz: best.hz, level };
}

function goertzel(samples, hz, rate) {
  const k = 2 * Math.cos((2 * Math.PI * hz) / rate);
  let [a, b] = [0, 0];
  for (const sample of samples) [a, b] = [sample + k * a - b, a];
  return a * a + b * b - k * a * b;
}
