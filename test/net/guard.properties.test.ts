import net from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressKind } from '../../src/net/addresses.ts';
import { fetchImage } from '../../src/net/fetch.ts';
import { checkPostUrl } from '../../src/net/post.ts';
import { failureOf, policyOf } from './stage.ts';

/** An internet where every name has these addresses and nothing can be connected to; what was tried is noted. */
class Nowhere {
  readonly judged: string[] = [];
  readonly dialled: string[] = [];
  readonly #addresses: readonly string[];

  constructor(addresses: readonly string[]) {
    this.#addresses = addresses;
  }

  attached(): string[] {
    return [];
  }

  async resolve(): Promise<string[]> {
    this.judged.push(...this.#addresses);
    return [...this.#addresses];
  }

  async dial(addresses: readonly string[]): Promise<never> {
    this.dialled.push(...addresses);
    throw Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
  }
}

/** Whatever is asked for: it ends in a refusal or a failure, and only public addresses that were judged are dialled. */
async function ask(url: string, addresses: readonly string[]): Promise<Nowhere> {
  const network = new Nowhere(addresses);
  const error = await failureOf(fetchImage(url, policyOf(), { network }));
  expect(['fetch_refused', 'fetch_failed']).toContain(error.code);
  expect(error.message.length).toBeLessThan(1000);
  const literal = URL.parse(url)?.hostname.replace(/^\[|\]$|\.$/g, '');
  for (const address of network.dialled) {
    expect(net.isIP(address)).not.toBe(0);
    expect(addressKind(address)).toBe('public');
    expect([literal, ...network.judged]).toContain(address);
  }
  return network;
}

const address4 = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255));
const address6 = fc.array(fc.nat(0xffff), { minLength: 8, maxLength: 8 });
const address = fc.oneof(
  address4.map((bytes) => bytes.join('.')),
  address6.map((groups) => groups.map((group) => group.toString(16)).join(':')),
  fc.constantFrom(
    '8.8.8.8',
    '2606:4700::1',
    '127.0.0.1',
    '::1',
    '::ffff:8.8.8.8',
    '169.254.169.254',
  ),
);

const scheme = fc.constantFrom('http', 'https', 'HTTP', 'file', 'ftp', 'gopher', 'ws', 'data', '');
const separator = fc.constantFrom('://', ':', ':/', ':\\\\', '://\t', '://user@', '://a:b@', '//');
const host = fc.oneof(
  address,
  address6.map((groups) => `[${groups.map((group) => group.toString(16)).join(':')}]`),
  fc.domain(),
  fc.constantFrom(
    'localhost',
    'a.localhost',
    'metadata.google.internal',
    '0x7f.1',
    '2130706433',
    '。',
    '%00',
  ),
  fc.string({ unit: 'binary', maxLength: 30 }),
);
const rest = fc.oneof(
  fc.constantFrom(
    '',
    '/',
    ':22/',
    ':8080/',
    ':0',
    '\\@127.0.0.1/',
    '#@127.0.0.1',
    '?@127.0.0.1',
    '.',
  ),
  fc.string({ unit: 'binary', maxLength: 60 }),
);
const url = fc.oneof(
  fc.tuple(scheme, separator, host, rest).map((parts) => parts.join('')),
  fc.webUrl(),
  fc.string({ unit: 'binary', maxLength: 200 }),
);

describe('the guard', () => {
  it('lets any text lead to public addresses alone, to those that it has judged', async () => {
    await fc.assert(
      fc.asyncProperty(url, fc.array(address, { maxLength: 4 }), async (text, addresses) => {
        await ask(text, addresses);
      }),
      { numRuns: 2000 },
    );
  });

  it('connects to what a name has, all of it public, and to nothing where one is not', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(address, { minLength: 1, maxLength: 4 }), async (addresses) => {
        const { dialled } = await ask('http://images.example.com/', addresses);
        const arePublic = addresses.every((one) => addressKind(one) === 'public');
        expect(dialled).toEqual(arePublic ? addresses : []);
      }),
      { numRuns: 1000 },
    );
  });

  it('takes any IPv4 address in any spelling for the one that it is', async () => {
    const base = fc.constantFrom<(value: number) => string>(
      (value) => `${value}`,
      (value) => `0x${value.toString(16)}`,
      (value) => `0${value.toString(8)}`,
    );
    const spelled = fc.tuple(
      address4,
      fc.integer({ min: 1, max: 4 }),
      fc.array(base, { minLength: 4, maxLength: 4 }),
    );
    await fc.assert(
      fc.asyncProperty(spelled, async ([bytes, parts, bases]) => {
        const last = bytes.slice(parts - 1).reduce((sum, byte) => sum * 256 + byte, 0);
        const written = [...bytes.slice(0, parts - 1), last].map((value, n) => bases[n]?.(value));
        const canonical = bytes.join('.');
        const { dialled } = await ask(`http://${written.join('.')}/`, []);
        expect(dialled).toEqual(addressKind(canonical) === 'public' ? [canonical] : []);
      }),
      { numRuns: 1000 },
    );
  });

  it('judges where a webhook goes by the same rule, before it is asked for', () => {
    fc.assert(
      fc.property(url, (text) => {
        try {
          checkPostUrl(text, policyOf(), 'webhook');
        } catch (error) {
          expect(error).toMatchObject({ name: 'LotusError', code: 'fetch_refused' });
        }
      }),
      { numRuns: 1000 },
    );
  });
});
