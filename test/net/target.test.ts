import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fetchImage } from '../../src/net/fetch.ts';
import { showUrl } from '../../src/net/target.ts';
import { failureOf, NO_NETWORK, PUBLIC, policyOf, Stage } from './stage.ts';

/** The error for an address that is refused before the network is asked anything. */
function refusalOf(url: string, allowText = '') {
  return failureOf(fetchImage(url, policyOf({ allowText }), { network: NO_NETWORK }));
}

const SPELLINGS_OF_LOOPBACK = [
  '127.0.0.1',
  '127.1',
  '127.0.1',
  '127.000.000.001',
  '2130706433',
  '0x7f000001',
  '0x7F.0.0.1',
  '0x7f.1',
  '0177.0.0.1',
  '0177.0.0.01',
  '00000177.1',
  '017700000001',
  '127.0.0.1.',
  '127.1.',
  '%31%32%37.0.0.1',
  '127%2e0%2e0%2e1',
  '１２７.０.０.１',
  '①②⑦.⓪.⓪.①',
  '127。0。0。1',
  '127．0．0．1',
  '12\t7.0.0.1',
  '127.0.\n0.1',
  '127.0.0\u00ad.1',
  '[::1]',
  '[0:0:0:0:0:0:0:1]',
  '[0000::0001]',
  '[::]',
  '[::ffff:127.0.0.1]',
  '[::FFFF:7f00:0001]',
  '[0:0:0:0:0:ffff:127.0.0.1]',
  '[::127.0.0.1]',
  '[::ffff:0:127.0.0.1]',
  '[64:ff9b::127.0.0.1]',
  '[64:ff9b:1::127.0.0.1]',
  '[2002:7f00:1::]',
  '0',
  '0.0.0.0',
  '0x0',
  'localhost',
  'LOCALHOST',
  'localhost.',
  'LocalHost',
  'ⓛⓞⓒⓐⓛⓗⓞⓢⓣ',
  'foo.localhost',
  '%6c%6fcalhost',
];

const SPELLINGS_OF_METADATA = [
  '169.254.169.254',
  '169.254.169.254.',
  '169.254.43518',
  '169.16689662',
  '2852039166',
  '0xa9fea9fe',
  '0xA9.0xFE.0xA9.0xFE',
  '0251.0376.0251.0376',
  '0251.254.0xa9.254',
  '[::ffff:169.254.169.254]',
  '[::ffff:a9fe:a9fe]',
  '[64:ff9b::a9fe:a9fe]',
  '[fd00:ec2::254]',
  '[fd00:ec2:0:0::0254]',
  '100.100.100.200',
  '168.63.129.16',
  'metadata.google.internal',
  'METADATA.google.internal.',
  'metadata',
  'instance-data',
];

const OTHERS = [
  '10.0.0.1',
  '10.1',
  '167772161',
  '172.16.0.1',
  '192.168.1.1',
  '0300.0250.1.1',
  '3232235777',
  '100.64.0.1',
  '192.0.2.1',
  '198.18.0.1',
  '224.0.0.1',
  '255.255.255.255',
  '240.0.0.1',
  '[fc00::1]',
  '[fd12:3456::1]',
  '[fe80::1]',
  '[ff02::1]',
  '[2001:db8::1]',
  '[2001::1]',
  '[fec0::1]',
  'printer.local',
  'router.home.arpa',
  'intranet',
];

describe('an address that is not on the public internet', () => {
  it.each([...SPELLINGS_OF_LOOPBACK, ...SPELLINGS_OF_METADATA, ...OTHERS])(
    'is refused without asking the network: http://%s',
    async (host) => {
      for (const scheme of ['http', 'https']) {
        const error = await refusalOf(`${scheme}://${host}/latest/meta-data`);
        expect(error.code).toBe('fetch_refused');
        expect(error.message).toContain('is not on the public internet');
      }
    },
  );

  it.each([
    '[fe80::1%25eth0]',
    '[fe80::1%eth0]',
    '[::1%lo]',
    '1.2.3.4.5',
    '256.0.0.1',
    '1.2.3.0x1ff',
    '%00',
    'a b',
    'a..b',
    '-a.example.com',
    `${'a'.repeat(64)}.com`,
    'exa%6dple.com..',
  ])('is refused when it is no host at all: %s', async (host) => {
    expect((await refusalOf(`http://${host}/`)).code).toBe('fetch_refused');
  });

  /** All that can be told from outside is that it is refused. */
  it('is refused in the same words whatever it is', async () => {
    const texts = await Promise.all(
      ['127.0.0.1', '10.0.0.1', '169.254.169.254', 'localhost', '[fd00::1]'].map(async (host) =>
        (await refusalOf(`http://${host}/`)).message.replace(host, 'HOST'),
      ),
    );
    expect(new Set(texts).size).toBe(1);
  });
});

describe('any spelling of any address of a blocked range', () => {
  const byte = fc.nat(255);
  const blocked4 = fc.oneof(
    fc.tuple(fc.constantFrom(0, 10, 127), byte, byte, byte),
    fc.tuple(fc.constant(169), fc.constant(254), byte, byte),
    fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), byte, byte),
    fc.tuple(fc.constant(192), fc.constant(168), byte, byte),
    fc.tuple(fc.constant(100), fc.integer({ min: 64, max: 127 }), byte, byte),
    fc.tuple(fc.constant(198), fc.integer({ min: 18, max: 19 }), byte, byte),
    fc.tuple(fc.integer({ min: 224, max: 255 }), byte, byte, byte),
  );

  const part = (value: number, how: number): string =>
    [
      `${value}`,
      `0x${value.toString(16)}`,
      `0X00${value.toString(16).toUpperCase()}`,
      `0${value.toString(8)}`,
      `000${value.toString(8)}`,
    ][how % 5] ?? '';
  const wide = (text: string) =>
    text.replaceAll(/\d/g, (d) => String.fromCodePoint(0xff10 + Number(d)));
  const percent = (text: string) =>
    text.replaceAll(/[\d.]/g, (c) => `%${c.charCodeAt(0).toString(16)}`);

  const spelled4 = fc
    .tuple(
      blocked4,
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.nat(4), { minLength: 4, maxLength: 4 }),
      fc.nat(8),
    )
    .map(([bytes, parts, hows, dress]) => {
      const own = bytes.slice(0, parts - 1);
      const rest = bytes.slice(parts - 1).reduce((sum, value) => sum * 256 + value, 0);
      const plain = [...own, rest].map((value, i) => part(value, hows[i] ?? 0)).join('.');
      const [a, b, c, d] = bytes.map((value) => value.toString(16).padStart(2, '0'));
      const dotted = bytes.join('.');
      return [
        plain,
        `${plain}.`,
        wide(plain),
        percent(plain),
        `[::ffff:${dotted}]`,
        `[::${dotted}]`,
        `[64:ff9b::${a}${b}:${c}${d}]`,
        `[2002:${a}${b}:${c}${d}::1]`,
        `[0:0:0:0:0:FFFF:${a}${b}:${c}${d}]`,
      ][dress] as string;
    });

  const group = fc.nat(0xffff);
  const blocked6 = fc
    .tuple(
      fc.constantFrom(
        [0xfc00],
        [0xfdff],
        [0xfe80],
        [0xfebf],
        [0xfec0],
        [0xff02],
        [0x2001, 0],
        [0x2001, 0xdb8],
        [0x2002],
        [0x64, 0xff9b],
        [0x64, 0xff9b, 1],
        [0x100, 0, 0, 0],
        [0, 0, 0, 0, 0, 0xffff],
        [0, 0, 0, 0, 0, 0],
        [0x4000],
        [0x8000],
        [0x3fff, 0],
      ),
      fc.array(group, { minLength: 8, maxLength: 8 }),
    )
    .map(([prefix, rest]) => [...prefix, ...rest].slice(0, 8));
  const spelled6 = fc.tuple(blocked6, fc.nat(3)).map(([groups, how]) => {
    const hex = groups.map((value) => value.toString(16));
    const padded = groups.map((value) => value.toString(16).padStart(4, '0'));
    const tail = groups.slice(6).flatMap((value) => [value >> 8, value & 255]);
    return [
      `[${hex.join(':')}]`,
      `[${padded.join(':').toUpperCase()}]`,
      `[${hex.slice(0, 6).join(':')}:${tail.join('.')}]`,
      `[${hex.join(':').replace(/(^|:)0(:0)+(:|$)/, '::')}]`,
    ][how] as string;
  });

  it('is refused without asking the network', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(spelled4, spelled6), async (host) => {
        const error = await refusalOf(`http://${host}:8080/x`);
        expect(error.code).toBe('fetch_refused');
      }),
      { numRuns: 1500 },
    );
  });

  it('is refused when a name has it, whatever else the name has', async () => {
    const resolvable = fc.oneof(
      blocked4.map((bytes) => bytes.join('.')),
      blocked6.map((groups) => groups.map((value) => value.toString(16)).join(':')),
    );
    await fc.assert(
      fc.asyncProperty(resolvable, fc.nat(2), async (address, place) => {
        const answers = [PUBLIC, '1.1.1.1'].toSpliced(place, 0, address);
        const stage = new Stage(0, { 'images.example.com': answers });
        const error = await failureOf(
          fetchImage('http://images.example.com/', policyOf(), { network: stage }),
        );
        expect(error.code).toBe('fetch_refused');
        expect(stage.dialled).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });
});

describe('an address that is refused for something else', () => {
  it.each([
    ['file:///etc/passwd', 'has the scheme file:'],
    ['ftp://example.com/a.png', 'has the scheme ftp:'],
    ['gopher://example.com:6379/_', 'has the scheme gopher:'],
    ['javascript:alert(1)', 'has the scheme javascript:'],
    ['blob:https://example.com/1', 'has the scheme blob:'],
    ['unix:///run/docker.sock', 'has the scheme unix:'],
    ['data:image/png;base64,AAAA', 'is a data URL: send it as image_base64'],
    ['/etc/passwd', 'is no URL'],
    ['example.com/a.png', 'is no URL'],
    ['//example.com/a.png', 'is no URL'],
    ['', 'is no URL'],
    ['http://', 'is no URL'],
    ['http://example.com:99999/', 'is no URL'],
    [`https://example.com/${'a'.repeat(9000)}`, 'is no URL'],
    ['https://me:hunter2@example.com/a.png', 'has a user name or password'],
    ['https://hunter2@example.com/a.png', 'has a user name or password'],
    ['https://example.com@127.0.0.1/', 'has a user name or password'],
    ['http://example.com:22/', 'has the port 22'],
    ['http://example.com:25/', 'has the port 25'],
    ['https://example.com:1023/', 'has the port 1023'],
    ['http://example.com:0/', 'has the port 0'],
  ])('%s', async (url, text) => {
    const error = await refusalOf(url);
    expect(error).toMatchObject({ code: 'fetch_refused', status: 400 });
    expect(error.message).toContain(text);
    expect(error.message).not.toContain('hunter2');
    expect(error.message.length).toBeLessThan(600);
  });

  it.each([
    'http://example.com\\@127.0.0.1/',
    'http://example.com#@127.0.0.1/',
    'http://example.com?@127.0.0.1/',
  ])('goes to the host that URL sees, and to no other: %s', async (url) => {
    const stage = new Stage(0, {});
    await failureOf(fetchImage(url, policyOf(), { network: stage }));
    expect(stage.resolved).toEqual(['example.com']);
  });

  it.each([
    'http://127.0.0.1\\@example.com/',
    'http://127.0.0.1#@example.com/',
    'http:127.0.0.1',
    'http:\\\\127.0.0.1/',
  ])('goes to no host that is hidden in it: %s', async (url) =>
    expect((await refusalOf(url)).message).toContain('is not on the public internet'),
  );
});

describe('what the operator has allowed', () => {
  it.each([
    ['169.254.169.254', '169.254.0.0/16, 0.0.0.0/0'],
    ['[fd00:ec2::254]', 'fd00::/8'],
    ['0.0.0.0', '0.0.0.0/0'],
    ['[::ffff:10.0.0.1]', '10.0.0.0/8, ::/0'],
    ['10.0.0.1', '10.1.0.0/16'],
    ['localhost', '127.0.0.1'],
    ['images.internal', 'internal, *.images.internal'],
  ])('does not open %s with %s', async (host, allowText) => {
    expect((await refusalOf(`http://${host}/`, allowText)).code).toBe('fetch_refused');
  });

  it('does not open the metadata service to a name', async () => {
    const stage = new Stage(0, { 'metadata.google.internal': ['169.254.169.254'] });
    const policy = policyOf({ allowText: '*.google.internal' });
    const url = 'http://metadata.google.internal/';
    const error = await failureOf(fetchImage(url, policy, { network: stage }));
    expect(error.code).toBe('fetch_refused');
    expect(stage.dialled).toEqual([]);
  });
});

describe('showUrl', () => {
  it.each([
    [
      'https://me:hunter2@example.com:8443/a/b.png?token=hunter2#hunter2',
      'https://example.com:8443/a/b.png',
    ],
    ['data:image/png;base64,hunter2', ''],
    ['hunter2', ''],
    [`https://example.com/${'a'.repeat(500)}`, `https://example.com/${'a'.repeat(180)}...`],
  ])('shows %s as %s', (url, shown) => expect(showUrl(url)).toBe(shown));
});
