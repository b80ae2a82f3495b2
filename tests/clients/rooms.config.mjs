// Rooms made, moderated and ended with the official server SDK; LIVEKIT_URL says where.
import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { include: ['rooms.test.mjs'], testTimeout: 90_000 } });
