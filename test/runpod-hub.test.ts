import { access, readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { APP_ROOT } from '../src/app.ts';
import { readConfig } from '../src/config.ts';
import { parseJobInput } from '../src/job/schema.ts';
import { settings } from '../src/settings.ts';

const read = async (name: string) =>
  JSON.parse(await readFile(path.join(APP_ROOT, '.runpod', name), 'utf8'));

interface Variable {
  key: string;
  value?: string;
  input?: {
    default: unknown;
    trueValue?: string;
    falseValue?: string;
    options?: { value: string }[];
  };
}

/** The values that a user of the Hub can give a variable. */
function valuesOf({ value, input }: Variable): string[] {
  if (value !== undefined) return [value];
  const { default: fallback, trueValue, falseValue, options = [] } = input ?? { default: '' };
  if (typeof fallback === 'boolean') return [trueValue ?? 'true', falseValue ?? 'false'];
  return [String(fallback), ...options.map((option) => option.value)];
}

describe("what RunPod's Hub is told", () => {
  it('has nothing but settings, with values that they take', async () => {
    const { config } = await read('hub.json');
    const { config: tests } = await read('tests.json');
    const presets = config.presets.flatMap(({ defaults }: { defaults: object }) =>
      Object.entries(defaults).map(([key, value]) => ({ key, value })),
    );
    const variables: Variable[] = [...config.env, ...tests.env, ...presets];
    for (const variable of variables) {
      expect(Object.keys(settings.shape)).toContain(variable.key);
      for (const value of valuesOf(variable)) readConfig({ [variable.key]: value }, []);
    }
  });

  it('keeps hosts with a driver that is too old away', async () => {
    for (const name of ['hub.json', 'tests.json']) {
      const { config } = await read(name);
      const [oldest] = config.allowedCudaVersions.map(Number).toSorted();
      expect(oldest).toBe(12.8); // torch's
    }
  });

  it('tries jobs that are jobs, with the key that it is given', async () => {
    const { tests, config } = await read('tests.json');
    const { value: key } = config.env.find(
      (variable: Variable) => variable.key === 'LOTUS_API_KEY',
    );
    for (const { input } of tests) {
      expect(input.api_key).toBe(key);
      expect(parseJobInput(input).image).toHaveProperty('base64');
    }
  });

  it.each(['handler.py', 'README.md', '../Dockerfile'])('has its %s', async (name) => {
    await access(path.join(APP_ROOT, '.runpod', name));
  });
});
