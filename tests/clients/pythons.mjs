// Participants made of the unmodified Python SDK, several in one process: see ../python/matrix.py.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../python/', import.meta.url));
const PYTHON = fileURLToPath(new URL('../../target/python/bin/python', import.meta.url));

export class Pythons {
  said = '';
  #process;
  #asked = new Map();
  #count = 0;

  static start() {
    const pythons = new Pythons();
    const process = spawn(PYTHON, ['-u', 'matrix.py'], { cwd: FOLDER });
    process.stderr.on('data', (text) => {
      pythons.said += text;
    });
    createInterface({ input: process.stdout }).on('line', (line) => pythons.#take(line));
    process.on('exit', (code) => pythons.#end(code));
    pythons.#process = process;
    return pythons;
  }

  #take(line) {
    const { number, done, failed } = JSON.parse(line);
    const { resolve, reject } = this.#asked.get(number);
    this.#asked.delete(number);
    if (failed === undefined) resolve(done);
    else reject(new Error(failed));
  }

  #end(code) {
    for (const { reject } of this.#asked.values()) reject(new Error(`Python ended with ${code}`));
    this.#asked.clear();
  }

  // Has participant `who` do something, as the methods of `Driven` say.
  ask(who, what, more = {}) {
    const number = this.#count++;
    const answered = new Promise((resolve, reject) => this.#asked.set(number, { resolve, reject }));
    this.#process.stdin.write(`${JSON.stringify({ number, who, do: what, with: more })}\n`);
    return answered;
  }

  end() {
    this.#process.stdin.end();
  }
}
