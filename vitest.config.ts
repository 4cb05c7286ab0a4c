import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // A bound against hanging, not a measure: starting Python with torch takes seconds, on a busy machine
    // many.
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
