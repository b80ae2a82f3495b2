// A recorded consult and its replay in the console; PAGE_URL, LIVEKIT_URL, DATA and others say where.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['replay.test.mjs'],
    // One story, told in order.
    fileParallelism: false,
    bail: 1,
    // So long only where the machine has much else to do.
    testTimeout: 900_000,
    hookTimeout: 900_000,
  },
});
