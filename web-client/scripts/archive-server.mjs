/**
 * A compliance server for development and for tests in a browser: the built pages under the strict
 * policy of `npm run preview`, and the compliance interface over recordings that are made here with
 * ffmpeg. Knows nobody's rights and keeps its audit in memory; never a model for the real one.
 *
 *     node scripts/archive-server.mjs [PORT]
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { createServer, loadConfigFromFile } from 'vite';

const root = fileURLToPath(new URL('..', import.meta.url));
const port = Number(process.argv[2] ?? 7990);
const PASSPHRASE = 'consilium';
const UNTIL = '2029-11-22T02:00:00.000Z';

const vite = await createServer({
  root,
  server: { middlewareMode: true },
  appType: 'custom',
  logLevel: 'error',
});
const { stage } = await vite.ssrLoadModule('/src/archive/testing/scene.ts');
const { write, seal } = await vite.ssrLoadModule('/src/archive/testing/writer.ts');
await vite.close();
const { config } = await loadConfigFromFile(
  { command: 'serve', mode: 'production' },
  join(root, 'vite.config.ts'),
);
const policy = config.preview.headers['Content-Security-Policy'];

const identity = await generateX25519Identity();
const officer = await identityToRecipient(identity);
const keyFile = await keyOf(identity, officer);
const folder = join(tmpdir(), `consilium-archive-${process.pid}`);
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, 'officer.key'), keyFile);

const everybody = (seconds) => [
  {
    identity: 'li',
    name: 'Dr. Li',
    colour: '0xa02020',
    hz: 440,
    codec: 'vp8',
    stays: [[0, seconds]],
    muted: [15, 19],
    screen: [10, 24],
  },
  {
    identity: 'wang',
    name: '王医生',
    colour: '0x208030',
    hz: 700,
    codec: 'vp9',
    stays: [[2, seconds]],
  },
  {
    identity: 'chen',
    name: '陈护士',
    colour: '0x2040a0',
    hz: 1130,
    codec: 'h264',
    stays: [
      [5, 20],
      [26, seconds],
    ],
  },
  { identity: 'zhao', name: 'Zhao', colour: '0x806010', hz: 900, codec: 'av1', stays: [[8, 20]] },
];
const recordings = new Map();
await record('01JD8Z3V9Q4X7M2K5N6P8R9S01', '2026-11-21T08:15:00.000Z', {
  room: 'MDT-1042',
  roles: everybody(45),
  seconds: 45,
  gap: [32, 34],
});
const broken = await record('01JD8Z3V9Q4X7M2K5N6P8R9S02', '2026-11-20T01:30:00.000Z', {
  room: '远程会诊-0317',
  roles: everybody(45).slice(0, 2),
  seconds: 45,
});
const damaged = broken.files.get('seg-000000.age');
damaged[Math.floor(damaged.length * 0.6)] ^= 1;
await record('01JD8Z3V9Q4X7M2K5N6P8R9S03', '2026-11-22T02:40:00.000Z', {
  room: 'MDT-1050',
  roles: everybody(20).slice(0, 2),
  seconds: 20,
  state: 'open',
});
for (let n = 0; n < 20; n++) {
  const id = `01JD8Z3V9Q4X7M2K5N6P8R9T${String(n).padStart(2, '0')}`;
  recordings.set(id, {
    files: new Map(),
    release: '',
    audit: [],
    summary: summary(id, new Date(Date.UTC(2026, 10, 19 - n, 3 + (n % 9), 12)).toISOString(), {
      state: n % 7 === 6 ? 'expired' : n % 5 === 4 ? 'incomplete' : 'closed',
      duration_us: (n + 3) * 97e6,
      participants: 2 + (n % 6),
      bytes: (n + 1) * 230e6,
      holds: n % 6 === 2 ? ['(2026) 0107-33'] : [],
      retention: { class: n % 3 ? 'consult-3y' : 'record-15y', until: UNTIL },
      verification:
        n % 4 ? { at: '2026-11-21T04:00:00.000Z', intact: n !== 9, findings: [] } : null,
    }),
  });
}

const server = createHttpServer(handle).listen(port, '127.0.0.1', () => {
  const claims = {
    sub: 'officer.zhang',
    consilium: { role: 'compliance' },
    exp: Date.now() / 1000 + 86_400,
  };
  const token = `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.x`;
  console.log(`key ${join(folder, 'officer.key')} passphrase ${PASSPHRASE}`);
  console.log(`link http://127.0.0.1:${server.address().port}/compliance/#token=${token}`);
});

async function keyOf(secret, recipient) {
  const encrypter = new Encrypter();
  encrypter.setPassphrase(PASSPHRASE);
  encrypter.setScryptWorkFactor(12);
  return encrypter.encrypt(`# public key: ${recipient}\n${secret}\n`);
}

async function record(id, started, scene) {
  const written = await write(stage({ id, started, officers: [officer], ...scene }));
  const isOpen = scene.state === 'open';
  const manifest = written.files.get('manifest.json');
  const recording = {
    ...written,
    audit: [],
    summary: summary(id, started, {
      state: isOpen ? 'open' : 'closed',
      live: isOpen,
      duration_us: scene.seconds * 1e6,
      participants: scene.roles.length,
      tracks: scene.roles.length * 2,
      bytes: [...written.files.values()].reduce((sum, file) => sum + file.length, 0),
    }),
    manifest: manifest ? JSON.parse(Buffer.from(manifest).toString()) : null,
    header: JSON.parse(Buffer.from(written.files.get('header.json')).toString()),
  };
  recordings.set(id, recording);
  return recording;
}

function summary(id, started, more) {
  return {
    id,
    room_sid: `RM_${id.slice(-8)}`,
    owner: '0011223344556677',
    state: 'closed',
    started,
    duration_us: 0,
    participants: 0,
    tracks: 0,
    bytes: 0,
    retention: { class: 'consult-3y', until: UNTIL },
    holds: [],
    verification: null,
    shreddable: true,
    live: false,
    ...more,
  };
}

async function handle(request, response) {
  const { pathname } = new URL(request.url, 'http://localhost');
  const answer = (status, body) => {
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    response.end(body === undefined ? '' : JSON.stringify(body));
  };
  try {
    if (pathname.startsWith('/compliance/api/v1/'))
      return await api(request, pathname.slice(19), answer, response);
    page(pathname, response);
  } catch (error) {
    answer(500, { code: 'internal', message: String(error) });
  }
}

function page(pathname, response) {
  const path = pathname.endsWith('/') ? `${pathname}index.html` : pathname;
  const kinds = {
    '.html': 'text/html; charset=utf-8',
    '.js': 'text/javascript',
    '.css': 'text/css',
    '.svg': 'image/svg+xml',
  };
  try {
    const bytes = readFileSync(join(root, 'dist', path));
    response.writeHead(200, {
      'content-type': kinds[extname(path)] ?? 'application/octet-stream',
      'content-security-policy': policy,
    });
    response.end(bytes);
  } catch {
    response.writeHead(404).end('not found');
  }
}

async function api(request, path, answer, response) {
  if (!request.headers.authorization?.startsWith('Bearer '))
    return answer(401, { code: 'token', message: 'no token' });
  const [what, id, part, name] = path.split('/').map(decodeURIComponent);
  const body = await read(request);
  if (what === 'replays') {
    const recording = recordings.get(id.slice(2));
    note(recording, part, body.what ?? null, body);
    return answer(204);
  }
  if (!id) return answer(200, { recordings: [...recordings.values()].map((one) => one.summary) });
  const recording = recordings.get(id);
  if (!recording) return answer(404, { code: 'not_found', message: 'no such recording' });
  switch (`${request.method} ${part ?? ''}`) {
    case 'GET ': {
      const files = [...recording.files].map(([file, bytes]) => ({
        name: file,
        bytes: bytes.length,
      }));
      const { manifest = null, header = null } = recording;
      return answer(200, { summary: recording.summary, header, manifest, writers: [], files });
    }
    case 'GET files':
      return serve(request, response, recording, name, answer);
    case 'POST release': {
      if (!body.reason?.trim())
        return answer(400, { code: 'no_reason', message: 'a reason is needed' });
      note(recording, 'release', body.reason, null);
      const share = Buffer.from(await seal(recording.release, body.officer)).toString('base64');
      return answer(200, { replay: `r-${id}`, share });
    }
    case 'POST verify': {
      const intact = recording !== broken;
      recording.summary.verification = {
        at: new Date().toISOString(),
        intact,
        findings: intact ? [] : ['seg-000000.age: chunk 12 was changed'],
      };
      note(recording, 'verify', null, null);
      return answer(200, recording.summary.verification);
    }
    case 'POST holds':
      recording.summary.holds.push(body.case);
      note(recording, 'hold', body.reason, { case: body.case });
      return answer(204);
    case 'DELETE holds':
      recording.summary.holds = recording.summary.holds.filter((one) => one !== name);
      note(recording, 'lift_hold', null, { case: name });
      return answer(204);
    case 'POST extend':
      if (body.until <= recording.summary.retention.until)
        return answer(409, { code: 'only_extended', message: 'only longer', until: UNTIL });
      recording.summary.retention.until = body.until;
      note(recording, 'extend', body.reason, { until: body.until });
      return answer(204);
    case 'DELETE ':
      note(recording, 'delete', null, null, 'refused');
      return answer(409, {
        code: 'retained',
        message: 'kept',
        until: recording.summary.retention.until,
      });
    case 'GET audit':
      return answer(200, { entries: recording.audit });
    default:
      return answer(404, { code: 'not_found', message: 'no such thing' });
  }
}

function serve(request, response, recording, name, answer) {
  const bytes = recording.files.get(name);
  if (!bytes) return answer(404, { code: 'not_found', message: 'no such file' });
  if (/^seg-.*\.age$/.test(name) && !request.headers['consilium-replay'])
    return answer(403, { code: 'no_replay', message: 'no replay' });
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  const [from, until] = range
    ? [Number(range[1]), Math.min(Number(range[2]) + 1, bytes.length)]
    : [0, bytes.length];
  if (range && from >= bytes.length) return answer(416, { code: 'range', message: 'outside' });
  response.writeHead(range ? 206 : 200, { 'content-type': 'application/octet-stream' });
  response.end(bytes.subarray(from, until));
}

function note(recording, action, reason, detail, outcome = 'done') {
  recording?.audit.push({
    seq: recording.audit.length,
    at: new Date().toISOString(),
    actor: 'officer.zhang',
    action,
    outcome,
    reason,
    detail,
  });
}

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const text = Buffer.concat(parts).toString();
  return text ? JSON.parse(text) : {};
}
