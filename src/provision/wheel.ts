import { createWriteStream } from 'node:fs';
import { cp, rename } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { EnvHttpProxyAgent, fetch } from 'undici';
import { cancelled, messageOf, withoutCredentials } from '../errors.ts';

/** How long it is waited for a wheel, in milliseconds. */
export interface WheelPatience {
  /** For the answer to begin, and between two pieces of it. */
  silence: number;
  /** For all of it: 256 MB take that long on a line of 2 Mbit/s. */
  whole: number;
}
const PATIENCE: WheelPatience = { silence: 60_000, whole: 1_200_000 };

/** Where a wheel is: at a URL, or in a file. */
export interface WheelSource {
  /** As it is known by, shown and written down. It has no query: a signed URL has another one every time. */
  readonly shown: string;
  /** The file's name, which pip reads version and platform from. */
  readonly name: string;
  readonly place: URL | string;
}

/**
 * The place of a wheel as an operator gives it: an http, https or file URL, or a path.
 *
 * @throws Error when it is none.
 */
export function wheelSource(given: string): WheelSource {
  const shown = withoutCredentials(given);
  if (/^\w+:\/\//.test(given) && !URL.canParse(given)) throw new Error(`${shown} is no URL`);
  if (/^https?:/i.test(given)) {
    const place = new URL(given);
    return { shown, name: decodeURIComponent(place.pathname.split('/').at(-1) ?? ''), place };
  }
  const place = path.resolve(/^file:/i.test(given) ? fileURLToPath(given) : given);
  return { shown: place, name: path.basename(place), place };
}

/**
 * The version in a wheel's name, https://packaging.python.org/specifications/binary-distribution-format says how.
 *
 * @throws Error when it is no such name.
 */
export function versionOf({ name, shown }: WheelSource): string {
  const [, version] = /^[^-]+-([^-/]+)(?:-[^-/]+){3,4}\.whl$/.exec(name) ?? [];
  if (version !== undefined) return version;
  throw new Error(`${shown} is not named as a wheel is: name-version-python-abi-platform.whl`);
}

interface BringOptions {
  signal?: AbortSignal | undefined;
  patience?: WheelPatience | undefined;
}

/**
 * Bring a wheel to a file.
 *
 * @throws Error saying what came instead, or LotusError `cancelled`.
 */
export async function bringWheel(
  { place, shown }: WheelSource,
  file: string,
  { signal, patience = PATIENCE }: BringOptions,
): Promise<void> {
  const limit = AbortSignal.timeout(patience.whole);
  const toEnd = signal ? AbortSignal.any([signal, limit]) : limit;
  try {
    if (typeof place === 'string') await cp(place, file);
    else await download(place, file, toEnd, patience.silence);
  } catch (error) {
    if (signal?.aborted) throw cancelled();
    const why = limit.aborted ? `it took more than ${patience.whole / 1000} s` : reasonOf(error);
    throw new Error(`${shown} cannot be had: ${why}`, { cause: error });
  }
}

async function download(
  url: URL,
  file: string,
  signal: AbortSignal,
  silence: number,
): Promise<void> {
  const dispatcher = new EnvHttpProxyAgent({ headersTimeout: silence, bodyTimeout: silence });
  try {
    const response = await fetch(withoutUser(url), {
      dispatcher,
      signal,
      headers: authorization(url),
    });
    if (!response.ok || response.body === null) {
      throw new Error(`it answered ${response.status} ${response.statusText}`.trim());
    }
    await pipeline(response.body, createWriteStream(`${file}.part`), { signal });
    await rename(`${file}.part`, file);
  } finally {
    await dispatcher.destroy();
  }
}

/** fetch refuses a URL that has them. */
function withoutUser(url: URL): URL {
  return Object.assign(new URL(url), { username: '', password: '' });
}

function authorization({ username, password }: URL): Record<string, string> {
  if (username === '' && password === '') return {};
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}

/** fetch says `fetch failed` or `terminated`, and why in the cause; of several addresses that fail nothing. */
function reasonOf(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return messageOf(inner) || String((inner as NodeJS.ErrnoException).code);
}
