import { describe, expect, it, onTestFinished } from 'vitest';
import { runProgram } from '../../src/provision/program.ts';

/** Set variables of this process, which is what programs get. */
function withVariables(variables: Record<string, string>): void {
  for (const [name, value] of Object.entries(variables)) {
    const before = process.env[name];
    process.env[name] = value;
    onTestFinished(() => {
      if (before === undefined) delete process.env[name];
      else process.env[name] = before;
    });
  }
}

const sh = (script: string, options: Parameters<typeof runProgram>[2] = {}) =>
  runProgram('sh', ['-c', script], options);

describe('runProgram', () => {
  it('says how a program ended, and throws nothing', async () => {
    expect(await sh('echo out; echo err >&2')).toEqual({
      ...{ failed: false, stdout: 'out', stderr: 'err', code: undefined, shortMessage: '' },
    });
    expect(await sh('exit 3')).toMatchObject({ failed: true });
    expect(await runProgram('/no/such/program', [])).toMatchObject({
      failed: true,
      code: 'ENOENT',
    });
  });

  it('gives no program a secret, unless that one is meant to have it', async () => {
    withVariables({ LOTUS_API_KEY: 'planted-key', HF_TOKEN: 'planted-token' });
    const { stdout } = await sh('env', { env: { HF_TOKEN: 'planted-token' } });
    expect(stdout).not.toContain('planted-key');
    expect(stdout).toContain('HF_TOKEN=planted-token');
  });

  it('shows no secret that a program shows: neither in its error, nor in its lines, nor in its command', async () => {
    withVariables({ HF_TOKEN: 'planted-token' });
    const lines: string[] = [];
    const url = 'https://user:planted-password@example.org/a.whl?X-Amz-Signature=planted-signature';
    const told = await runProgram(
      'sh',
      ['-c', 'echo "$0 failed with $1" >&2; exit 1', url, 'planted-token'],
      { onLine: (line) => lines.push(line) },
    );
    expect(told.stderr).toBe('https://example.org/a.whl?... failed with ***');
    expect(lines).toEqual([told.stderr]);
    expect(JSON.stringify([told, lines])).not.toContain('planted');
    expect(told.shortMessage).toContain('https://example.org/a.whl?...');
  });

  it('ends a program that takes longer than it may, and says so', async () => {
    const ended = await runProgram('sleep', ['600'], { timeout: 50 });
    expect(ended).toMatchObject({ failed: true, shortMessage: 'sleep did not end within 0.05 s' });
  });

  it('kills one that does not want to end', async () => {
    const stubborn = 'trap "" TERM; echo $$; while :; do sleep 0.1; done';
    const ended = await sh(stubborn, { timeout: 100 });
    expect(ended.shortMessage).toContain('did not end within');
  });

  it('does not wait for ever for one whose output somebody keeps open', async () => {
    // As good as one that cannot be killed: its end is never seen.
    const ended = await sh('setsid sleep 20 & exec sleep 20', { timeout: 100 });
    expect(ended.shortMessage).toContain('did not end within');
  });

  it('throws when it is interrupted, also of one whose end is never seen', async () => {
    const controller = new AbortController();
    const running = sh('setsid sleep 20 & echo started >&2; exec sleep 20', {
      signal: controller.signal,
      onLine: () => controller.abort(),
    });
    await expect(running).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('starts nothing once it was interrupted', async () => {
    const signal = AbortSignal.abort();
    await expect(sh('true', { signal })).rejects.toMatchObject({ code: 'cancelled' });
  });
});
