import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Both cores of a small machine: vitest leaves one to itself, and most tests wait for children.
    maxWorkers: 2,
    // A bound against hanging, not a measure: starting Python with torch takes seconds, on a busy machine
    // many.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 60_000 } },
  },
});
