import { globSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { readConfig } from '../../src/config.ts';
import { uvEnvironment } from '../../src/provision/uv.ts';

const FIXTURES = path.join(import.meta.dirname, '..', 'fixtures', 's3');

/** A storage that is S3's, and a way to look into it that is not ours. */
export interface Storage {
  readonly url: string;
  readonly bucket: string;
  readonly keyId: string;
  readonly key: string;
  /** An object, as boto3 gets it. */
  read(bucket: string, key: string): Promise<{ contentType: string; bytes: Buffer }>;
  /** A URL, signed by botocore for seven days. */
  presign(url: string, region: string, at: Date): Promise<string>;
  /** Do something while the storage asks for no signatures: it knows none that are in a URL. */
  unchecked<T>(work: () => Promise<T>): Promise<T>;
  stop(): Promise<void>;
}

/** Start it, in an environment that uv makes and keeps in its cache. */
export async function startStorage(): Promise<Storage> {
  const config = readConfig(process.env);
  const [bootstrapped = 'uv'] = globSync(path.join(config.workspace, 'tools', 'uv-*', 'bin', 'uv'));
  const python = path.join(config.workspace, 'venv', 'bin', 'python');
  const script = path.join(FIXTURES, 'server.py');
  const packages = ['--with-requirements', path.join(FIXTURES, 'server.lock')];
  const made = ['--isolated', '--no-project', '--python', python, ...packages];
  const child = execa(config.uv ?? bootstrapped, ['run', ...made, 'python', script], {
    env: uvEnvironment(config),
    stdin: 'pipe',
    reject: false,
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<Record<string, string>> => {
    const { done, value } = await lines.next();
    if (done) throw new Error(`the storage has ended: ${(await child).stderr}`);
    return JSON.parse(value);
  };
  const ask = async (asked: object) => {
    child.stdin.write(`${JSON.stringify(asked)}\n`);
    const answer = await next();
    if (answer.error) throw new Error(answer.error);
    return answer;
  };
  const { url = '', bucket = '', key_id = '', key = '' } = await next();
  return {
    url,
    bucket,
    keyId: key_id,
    key,
    read: async (of, object) => {
      const { content_type = '', base64 = '' } = await ask({ do: 'read', bucket: of, key: object });
      return { contentType: content_type, bytes: Buffer.from(base64, 'base64') };
    },
    presign: async (object, region, at) => {
      const asked = { url: object, key_id, key, region, at: at.toISOString() };
      const { url: signed = '' } = await ask({ do: 'presign', ...asked });
      return signed;
    },
    unchecked: async (work) => {
      await ask({ do: 'check', signatures: false });
      const done = await work();
      await ask({ do: 'check', signatures: true });
      return done;
    },
    stop: async () => {
      child.stdin.end();
      await child;
    },
  };
}
