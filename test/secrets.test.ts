import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { withoutCredentials } from '../src/errors.ts';
import { withoutSecrets } from '../src/secrets.ts';

describe('withoutCredentials', () => {
  it.each([
    ['https://user:planted@host/x.whl', 'https://host/x.whl'],
    ['https://planted@host:8080/x', 'https://host:8080/x'],
    ['https://user:plan@ted@host/x', 'https://host/x'],
    ['git+ssh://git:planted@host/x', 'git+ssh://host/x'],
    ['HTTPS://user:planted@host/x', 'HTTPS://host/x'],
    ['https://host/x.whl?X-Amz-Signature=planted', 'https://host/x.whl?...'],
    ['https://host?planted', 'https://host?...'],
    ['(https://host/x?a=b)planted&c=d).', '(https://host/x?...).'],
    [
      "cannot get 'https://host/x?planted', giving up",
      "cannot get 'https://host/x?...', giving up",
    ],
    ['`a @ https://u:planted@host/x?planted`', '`a @ https://host/x?...`'],
    ['{"a":"https://host/x?planted","b":"c@d"}', '{"a":"https://host/x?...","b":"c@d"}'],
    ['{"a":"https://host","b":"c@d"}', '{"a":"https://host","b":"c@d"}'],
    [
      'one https://u:planted@a/ two http://v:planted@b/?planted',
      'one https://a/ two http://b/?...',
    ],
  ])('%s', (text, shown) => {
    expect(withoutCredentials(text)).toBe(shown);
  });

  it.each([
    'What is it? Who knows.',
    'https://host/a/b.whl#sha256=0123',
    'git@host:organisation/name.git',
    '/workspace/a?b@c',
    'me@example.org said https://host/',
  ])('leaves alone: %s', (text) => {
    expect(withoutCredentials(text)).toBe(text);
  });
});

describe('withoutSecrets', () => {
  it('takes the values of our secrets out, but no word that only looks like a short one', () => {
    const env = { HF_TOKEN: 'hf_planted_token', LOTUS_API_KEY: 'key' };
    expect(withoutSecrets('the key is hf_planted_token', env)).toBe('the key is ***');
  });
});

describe('the log', () => {
  it('holds no secret that JSON writes otherwise', async () => {
    const secret = 'planted"pass\\word';
    const script = `
      const { createLog } = await import(${JSON.stringify(import.meta.resolve('../src/log.ts'))});
      (await createLog('info')).info({ key: process.env.LOTUS_API_KEY }, 'it is ' + process.env.LOTUS_API_KEY);`;
    const { stderr } = await execa(process.execPath, ['--input-type=module', '-e', script], {
      env: { LOTUS_API_KEY: secret },
    });
    expect(JSON.parse(stderr)).toMatchObject({ key: '***', msg: 'it is ***' });
  });

  it('holds no secret, whatever is logged and however deep it lies', async () => {
    const script = `
      const { createLog } = await import(${JSON.stringify(import.meta.resolve('../src/log.ts'))});
      const log = await createLog('info');
      const cause = new Error('GET https://u:planted@host/?planted: planted-token');
      log.error({ err: new Error('outer', { cause }), at: ['http://u:planted@h/'] }, 'planted-token');`;
    const { stderr } = await execa(process.execPath, ['--input-type=module', '-e', script], {
      env: { HF_TOKEN: 'planted-token' },
    });
    expect(stderr).not.toContain('planted');
    expect(JSON.parse(stderr)).toMatchObject({
      msg: '***',
      at: ['http://h/'],
      err: { message: 'outer: GET https://host/?...: ***' },
    });
  });
});
