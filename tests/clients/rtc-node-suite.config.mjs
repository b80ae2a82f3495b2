// The end-to-end tests that ship inside @livekit/rtc-node, run unmodified against the server that
// LIVEKIT_URL names.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['node_modules/@livekit/rtc-node/src/tests/*.test.ts'],
    exclude: [],
    setupFiles: ['./rtc-node-suite.setup.mjs'],
    fileParallelism: false,
    // One of the tests compares 1.8 million array elements, which keeps a busy machine's event loop
    // for more than the ten seconds that its neighbours may take.
    maxConcurrency: 1,
    server: { deps: { inline: [/@livekit\/rtc-node/] } },
  },
});
