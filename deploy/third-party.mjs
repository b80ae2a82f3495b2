// Writes docs/third-party.md: what the binary and the web page contain that others wrote, with its
// licence, from Cargo's metadata and npm's lock file. With --check it only compares.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const root = new URL('..', import.meta.url).pathname;
const target = 'x86_64-unknown-linux-gnu';

function crates() {
  const args = ['metadata', '--format-version=1', '--locked', '--filter-platform', target];
  const options = { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 };
  const metadata = JSON.parse(execFileSync('cargo', args, options));
  const packages = new Map(metadata.packages.map((it) => [it.id, it]));
  const nodes = new Map(metadata.resolve.nodes.map((it) => [it.id, it]));
  // What is only needed to test or to build does not reach a user.
  const reached = new Set();
  const visit = (id) => {
    if (reached.has(id)) return;
    reached.add(id);
    for (const dep of nodes.get(id).deps) {
      if (dep.dep_kinds.some((it) => it.kind === null)) visit(dep.pkg);
    }
  };
  visit(metadata.packages.find((it) => it.name === 'consilium').id);
  return [...reached]
    .map((id) => packages.get(id))
    .filter((it) => it.source !== null)
    .map((it) => ({ name: it.name, version: it.version, licence: it.license, home: it.repository }));
}

function modules() {
  const lock = JSON.parse(readFileSync(`${root}web-client/package-lock.json`, 'utf8'));
  return Object.entries(lock.packages)
    .filter(([path, it]) => path !== '' && !it.dev && !it.devOptional && !it.optional && !it.extraneous)
    .map(([path, it]) => {
      const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
      return { name, version: it.version, licence: it.license ?? 'see the package', home: `https://www.npmjs.com/package/${name}` };
    });
}

function table(rows) {
  const unique = new Map(rows.map((it) => [`${it.name} ${it.version}`, it]));
  const lines = [...unique.values()]
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.version < b.version ? -1 : 1))
    .map((it) => `| ${it.home ? `[${it.name}](${it.home})` : it.name} | ${it.version} | ${it.licence} |`);
  return ['| name | version | licence |', '|---|---|---|', ...lines].join('\n');
}

const text = `# What others wrote

Made by \`make notices\` from the lock files; do not edit. Each of these comes with its own licence
text in its package, which a binary distribution must include.

## In the server

${table(crates())}

## In the web page

${table(modules())}
`;

const file = `${root}docs/third-party.md`;
if (process.argv.includes('--check')) {
  let committed = '';
  try {
    committed = readFileSync(file, 'utf8');
  } catch {
    // Said below.
  }
  if (committed !== text) {
    console.error('docs/third-party.md is not what the lock files say: run `make notices`');
    process.exit(1);
  }
} else {
  writeFileSync(file, text);
}
