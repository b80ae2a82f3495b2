// The signalling tests that ship inside livekit-client, run unmodified in the system's Chromium
// against the server that LK_TEST_SERVER_URL names.
import { playwright } from '@vitest/browser-playwright';
import { defineConfig } from 'vitest/config';
import { CHROMIUM } from './browser.mjs';

export default defineConfig({
  test: {
    include: ['node_modules/livekit-client/src/**/*.e2e.test.ts'],
    exclude: [],
    globalSetup: ['./node_modules/livekit-client/src/test/signalServerSetup.ts'],
    // The slowest expected failure (a v0 join that waits for a first message) takes 8 s.
    testTimeout: 20_000,
    hookTimeout: 60_000,
    fileParallelism: false,
    server: { deps: { inline: [/livekit-client/] } },
    browser: {
      enabled: true,
      headless: true,
      screenshotFailures: false,
      provider: playwright({ launchOptions: { executablePath: CHROMIUM } }),
      instances: [{ browser: 'chromium' }],
    },
  },
});
