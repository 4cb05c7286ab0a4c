import type { ErrorCode } from '../../src/errors.ts';
import type { Case } from './case.ts';
import { PHOTO } from './photo.ts';

/** Where a server of the test's own stands in for the internet; nothing here ever connects to it. */
export const SERVER = '93.184.216.34';

/** What names resolve to. Some are made so that a spelling in them comes out as an address, as some zones really do. */
export const NAMES: Readonly<Record<string, readonly string[]>> = {
  'images.example.com': [SERVER],
  'localtest.example.com': ['127.0.0.1'],
  '127.0.0.1.nip.example.com': ['127.0.0.1'],
  '7f000001.nip.example.com': ['127.0.0.1'],
  'six.example.com': ['::1'],
  'mapped.example.com': ['::ffff:127.0.0.1'],
  'metadata.example.com': ['169.254.169.254'],
  'both.example.com': [SERVER, '10.0.0.1'],
  'many.example.com': [...Array<string>(300).fill(SERVER), '192.168.0.1'],
  'nat64.example.com': ['64:ff9b::7f00:1'],
  'unspecified.example.com': ['0.0.0.0'],
  'zone.example.com': ['fe80::1%eth0'],
  'empty.example.com': [],
};

const refused = (url: string, name = url): Case => ({
  name: name.slice(0, 100),
  input: { image_url: url, processing_res: 64 },
  code: 'fetch_refused',
});
const hosts = (...names: string[]): Case[] => names.map((name) => refused(`http://${name}/a.png`));

/** Addresses for which nothing is ever connected to. */
export const URLS: readonly Case[] = [
  // This machine, in the spellings that have got past others.
  ...hosts(
    'localhost',
    'LOCALHOST.',
    'a.localhost',
    'ⓛⓞⓒⓐⓛⓗⓞⓢⓣ',
    'localhost.localdomain',
    '127.0.0.1',
    '127.1',
    '127.0.0.1.',
    '127.127.127.127',
    '2130706433',
    '0x7f000001',
    '0x7f.0x0.0x0.0x1',
    '0177.0.0.1',
    '017700000001',
    '0x7f.1',
    '0',
    '0.0.0.0',
    '①②⑦.⓪.⓪.①',
    '１２７.０.０.１',
    '127。0。0。1',
    '127｡0｡0｡1',
    '%31%32%37.0.0.1',
    '127%2e0%2e0%2e1',
    '12\t7.0.0.1',
    '127.0.\r\n0.1',
    '127.0.0\u00ad.1',
    '[::1]',
    '[::]',
    '[0:0:0:0:0:0:0:1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[::127.0.0.1]',
    '[::ffff:0:127.0.0.1]',
    '[64:ff9b::127.0.0.1]',
    '[64:ff9b:1::7f00:1]',
    '[2002:7f00:1::]',
    '[2001:0:7f00:1::]',
    '[fe80::1%25lo]',
  ),
  // What tells credentials to whoever asks from inside.
  ...hosts(
    '169.254.169.254',
    '2852039166',
    '0xa9fea9fe',
    '0251.0376.0251.0376',
    '169.254.43518',
    '[::ffff:a9fe:a9fe]',
    '[fd00:ec2::254]',
    '169.254.170.2',
    '100.100.100.200',
    '168.63.129.16',
    '192.0.0.192',
    'metadata',
    'metadata.google.internal',
    'METADATA.GOOGLE.INTERNAL.',
    'instance-data',
  ),
  // Networks of somebody's own.
  ...hosts(
    '10.0.0.1',
    '10.1',
    '172.16.0.1',
    '192.168.1.1',
    '3232235777',
    '100.64.0.1',
    '198.18.0.1',
    '192.0.2.1',
    '224.0.0.1',
    '255.255.255.255',
    '240.0.0.1',
    '[fc00::1]',
    '[fe80::1]',
    '[ff02::1]',
    'printer.local',
    'router.lan',
    'kubernetes.default.svc.cluster.local',
    'wiki.corp',
    'redis',
  ),
  // Names that lead inside.
  ...hosts(
    'localtest.example.com',
    '127.0.0.1.nip.example.com',
    '7f000001.nip.example.com',
    'six.example.com',
    'mapped.example.com',
    'metadata.example.com',
    'both.example.com',
    'many.example.com',
    'nat64.example.com',
    'unspecified.example.com',
    'zone.example.com',
  ),
  // Whose host is not what it looks like.
  refused('http://images.example.com@127.0.0.1/'),
  refused('http://127.0.0.1\\@images.example.com/'),
  refused('http://127.0.0.1#@images.example.com/'),
  refused('http://127.0.0.1?@images.example.com/'),
  refused('http:127.0.0.1/'),
  refused('http:\\\\127.0.0.1\\'),
  refused('http:///127.0.0.1/'),
  refused(' \t\nhttp://127.0.0.1/'),
  refused('HtTp://127.0.0.1/'),
  refused('https://127.0.0.1:443/'),
  refused('http://user:password@images.example.com/'),
  refused('http://images.example.com:password@127.0.0.1:80/'),
  refused('http://@127.0.0.1/'),
  refused('http://[::ffff:127.0.0.1]:80/'),
  // Other services.
  refused('http://images.example.com:0/'),
  refused('http://images.example.com:22/'),
  refused('http://images.example.com:25/'),
  refused('http://images.example.com:111/'),
  refused('http://images.example.com:65536/'),
  refused('http://127.0.0.1:6379/'),
  refused('http://127.0.0.1:2375/containers/json'),
  // Other schemes.
  refused('file:///etc/passwd'),
  refused('file://localhost/etc/passwd'),
  refused('FILE:/etc/passwd'),
  refused('gopher://127.0.0.1:6379/_FLUSHALL'),
  refused('dict://127.0.0.1:11211/stat'),
  refused('ftp://images.example.com/a.png'),
  refused('sftp://images.example.com/a.png'),
  refused('ldap://127.0.0.1/'),
  refused('tftp://127.0.0.1/a'),
  refused('jar:http://127.0.0.1!/a'),
  refused('netdoc:/etc/passwd'),
  refused('php://filter/resource=/etc/passwd'),
  refused('unix:/run/docker.sock'),
  refused('http+unix://%2Frun%2Fdocker.sock/info'),
  refused('ws://images.example.com/'),
  refused('javascript:alert(1)'),
  refused('blob:http://images.example.com/1'),
  refused('about:blank'),
  refused('view-source:http://127.0.0.1/'),
  refused('data:image/png;base64,AAAA'),
  refused('s3://bucket/a.png'),
  // No addresses at all.
  refused('', 'an empty address'),
  refused(' ', 'a blank'),
  refused('/etc/passwd'),
  refused('images.example.com/a.png'),
  refused('//images.example.com/a.png'),
  refused('http://'),
  refused('http://:80/'),
  refused('http://[::1/'),
  refused('http://a b/'),
  refused('http://images.example.com\0.evil.example.com/', 'a zero in a host'),
  refused('http://images..example.com/'),
  refused('http://-images.example.com/'),
  refused('http://1.2.3.4.5/'),
  refused('http://256.1.1.1/'),
  refused(`http://${'a'.repeat(64)}.example.com/`, 'a label that is too long'),
  refused(`http://${'a.'.repeat(130)}com/`, 'a name that is too long'),
  refused(`http://images.example.com/${'a'.repeat(10_000)}`, 'an address that is too long'),
  refused('http://127.0.0.1/'.repeat(1_000_000), 'an address of 17 megabytes'),
  {
    name: 'a name that nobody has',
    input: { image_url: 'http://nobody.example.com/' },
    code: 'fetch_failed',
  },
  {
    name: 'a name without an address',
    input: { image_url: 'http://empty.example.com/' },
    code: 'fetch_failed',
  },
];

const OK = 'HTTP/1.1 200 OK\r\n';
const to = (location: string) => `HTTP/1.1 302 Found\r\nLocation: ${location}\r\n\r\n`;
const body = (bytes: Buffer, headers = '') =>
  Buffer.concat([Buffer.from(`${OK}${headers}Content-Length: ${bytes.length}\r\n\r\n`), bytes]);

interface Served {
  readonly name: string;
  readonly answer: string | Buffer;
  readonly code: ErrorCode | null;
  /** It says no more, and does not end the connection either. */
  readonly isHanging?: boolean;
}

const SERVED: readonly Served[] = [
  { name: 'a redirect to this machine', answer: to('http://127.0.0.1/'), code: 'fetch_refused' },
  {
    name: 'a redirect to this machine in decimal',
    answer: to('http://2130706433/'),
    code: 'fetch_refused',
  },
  {
    name: 'a redirect to a name that leads inside',
    answer: to('http://localtest.example.com/'),
    code: 'fetch_refused',
  },
  {
    name: 'a redirect to the metadata service',
    answer: to('//169.254.169.254/latest/'),
    code: 'fetch_refused',
  },
  { name: 'a redirect to a file', answer: to('file:///etc/passwd'), code: 'fetch_refused' },
  {
    name: 'a redirect to another protocol',
    answer: to('gopher://127.0.0.1:6379/_'),
    code: 'fetch_refused',
  },
  {
    name: 'a redirect to a data URL',
    answer: to('data:image/png;base64,AAAA'),
    code: 'fetch_refused',
  },
  {
    name: 'a redirect with a password',
    answer: to('http://a:b@images.example.com/'),
    code: 'fetch_refused',
  },
  {
    name: 'a redirect to a port of others',
    answer: to('http://images.example.com:22/'),
    code: 'fetch_refused',
  },
  { name: 'a redirect to itself', answer: to('#'), code: 'fetch_refused' },
  {
    name: 'a redirect without a place',
    answer: 'HTTP/1.1 302 Found\r\n\r\n',
    code: 'fetch_failed',
  },
  { name: 'a redirect to two places', answer: to('/a\r\nLocation: /b'), code: 'fetch_failed' },
  {
    name: 'a redirect to a place that is too long',
    answer: to(`/${'a'.repeat(10_000)}`),
    code: 'fetch_refused',
  },
  { name: 'nothing found', answer: 'HTTP/1.1 404 Not Found\r\n\r\n', code: 'fetch_failed' },
  { name: 'no HTTP', answer: 'SSH-2.0-OpenSSH_9.6\r\n', code: 'fetch_failed' },
  { name: 'HTTP/0.9', answer: PHOTO, code: 'fetch_failed' },
  { name: 'an end before the beginning', answer: '', code: 'fetch_failed' },
  {
    name: 'headers that are too large',
    answer: `${OK}X-A: ${'a'.repeat(50_000)}\r\n\r\n`,
    code: 'fetch_failed',
  },
  {
    name: 'a body that is too large by its length',
    answer: `${OK}Content-Length: 99999999\r\n\r\n`,
    code: 'fetch_refused',
  },
  { name: 'a body that is too large', answer: body(Buffer.alloc(200_001)), code: 'fetch_refused' },
  {
    name: 'a body that is shorter than it says',
    answer: `${OK}Content-Length: 99\r\n\r\nabc`,
    code: 'fetch_failed',
  },
  {
    name: 'a length below zero',
    answer: `${OK}Content-Length: -1\r\n\r\nabc`,
    code: 'fetch_failed',
  },
  {
    name: 'chunks that are none',
    answer: `${OK}Transfer-Encoding: chunked\r\n\r\nzzz\r\n`,
    code: 'fetch_failed',
  },
  { name: 'gzip', answer: body(PHOTO, 'Content-Encoding: gzip\r\n'), code: 'fetch_refused' },
  { name: 'silence', answer: '', code: 'fetch_failed', isHanging: true },
  {
    name: 'silence after the headers',
    answer: `${OK}Content-Length: 99\r\n\r\n`,
    code: 'fetch_failed',
    isHanging: true,
  },
  { name: 'an empty body', answer: body(Buffer.alloc(0)), code: 'no_image' },
  {
    name: 'a page',
    answer: body(Buffer.from('<!doctype html><html></html>')),
    code: 'unsupported_format',
  },
  {
    name: 'half an image',
    answer: body(PHOTO.subarray(0, PHOTO.length / 2)),
    code: 'invalid_image',
  },
  {
    name: 'more than it says, of which the rest is not read',
    answer: Buffer.concat([body(PHOTO), PHOTO]),
    code: null,
  },
  {
    name: 'an image that is said to be a page',
    answer: body(PHOTO, 'Content-Type: text/html\r\n'),
    code: null,
  },
  { name: 'an image', answer: body(PHOTO), code: null },
];

/** What is served at the path of each case. */
export const ANSWERS: ReadonlyMap<string, Served> = new Map(
  SERVED.map((served, n) => [`/${n}`, served]),
);

/** Addresses of a server that answers so. */
export const SERVED_URLS: readonly Case[] = SERVED.map(({ name, code }, n) => ({
  name: `a server with ${name}`,
  input: { image_url: `http://images.example.com/${n}`, processing_res: 64 },
  code,
}));
