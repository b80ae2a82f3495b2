// An encoder that is not ours, as a process of its own: see encoders/.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { until } from './wait.mjs';

const FOLDER = fileURLToPath(new URL('./encoders/', import.meta.url));
const OURS = fileURLToPath(new URL('../../target/encoders/bin/python', import.meta.url));
// GStreamer's bindings are Debian's.
const DEBIANS = '/usr/bin/python3';

export class Encoder {
  said = '';
  #process;

  static start(program, url, token, codec, { rgb, hz }) {
    const encoder = new Encoder();
    const python = program === 'gstreamer' ? DEBIANS : OURS;
    const script = `${FOLDER}with_${program}.py`;
    const process = spawn(python, ['-u', script, url, token, codec, rgb.join(','), String(hz)]);
    for (const stream of [process.stdout, process.stderr]) {
      stream.on('data', (text) => {
        encoder.said += text;
      });
    }
    encoder.#process = process;
    return encoder;
  }

  // Has it end its session, and waits until it has ended itself.
  async end() {
    if (this.#process.exitCode !== null) return;
    this.#process.stdin.end('end\n');
    await until('the encoder has ended', () => this.#process.exitCode !== null);
  }

  // Ends it as a crash would: nobody is told.
  kill() {
    this.#process.kill('SIGKILL');
  }
}
