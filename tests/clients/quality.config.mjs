// What is sent of a picture follows what anybody looks at; LIVEKIT_URL says where.
import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { include: ['quality.test.mjs'], testTimeout: 190_000 } });
