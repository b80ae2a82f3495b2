// The end-to-end tests that ship inside @livekit/rtc-node, run unmodified against the server that
// LIVEKIT_URL names.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['node_modules/@livekit/rtc-node/src/tests/*.test.ts'],
    exclude: [],
    setupFiles: ['./rtc-node-suite.setup.mjs'],
    fileParallelism: false,
    server: { deps: { inline: [/@livekit\/rtc-node/] } },
  },
});
