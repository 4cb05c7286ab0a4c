import { describe, expect, it } from 'vitest';
import { type AllowList, admitsAddress, allowsName, parseAllowList } from '../../src/net/allow.ts';

function list(text: string): AllowList {
  const read = parseAllowList(text);
  if ('wrong' in read) throw new Error(`refused: ${read.wrong.join(', ')}`);
  return read.list;
}

describe('parseAllowList', () => {
  it.each(['', ' ', ',', ' , ,'])('reads %j as nothing', (text) => {
    expect(list(text)).toEqual({ names: [], suffixes: [], networks: [] });
  });

  it.each([
    '*',
    '*.',
    'a.*.example.com',
    '*example.com',
    '.example.com',
    'example.com.',
    'https://example.com',
    'example.com:8080',
    'example.com/path',
    'user@example.com',
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0.0/0x8',
    '10.0.0',
    '010.0.0.1',
    '0x7f000001',
    '2130706433',
    '::1/129',
    '[::1]',
    'fe80::1%eth0',
    'bücher.example.com',
    '-a.example.com',
    'a b',
    `${'a'.repeat(64)}.example.com`,
    `${'a.'.repeat(127)}com`,
  ])('refuses %j, naming it', (entry) => {
    expect(parseAllowList(`good.example.com, ${entry}, 10.0.0.0/8`)).toEqual({ wrong: [entry] });
  });
});

describe('allowsName', () => {
  const allow = list('images.internal, *.corp.example.com');

  it.each(['images.internal', 'a.corp.example.com', 'a.b.corp.example.com'])('knows %s', (name) => {
    expect(allowsName(allow, name)).toBe(true);
  });

  it.each([
    'corp.example.com',
    'xcorp.example.com',
    'internal',
    'my.images.internal',
    'images.internal.example.com',
    'a.corp.example.com.evil.com',
  ])('does not know %s', (name) => expect(allowsName(allow, name)).toBe(false));
});

describe('admitsAddress', () => {
  const allow = list('10.1.0.0/16, 192.168.0.7, fd00::/8, 127.0.0.0/8');

  it.each(['8.8.8.8', '10.1.2.3', '192.168.0.7', 'fd12::1', '127.0.0.1'])(
    'admits %s',
    (address) => {
      expect(admitsAddress(allow, address, false)).toBe(true);
    },
  );

  it.each(['10.2.0.0', '192.168.0.8', 'fc00::1', '::1', '::ffff:10.1.2.3'])(
    'does not admit %s',
    (address) => expect(admitsAddress(allow, address, false)).toBe(false),
  );

  it.each(['10.9.9.9', '172.16.0.1', '100.64.0.1', '127.0.0.1', 'fd99::1'])(
    'admits %s of a host whose name is allowed',
    (address) => expect(admitsAddress(list(''), address, true)).toBe(true),
  );

  const everything = list('0.0.0.0/0, ::/0');
  it.each([
    '169.254.169.254',
    '169.254.1.1',
    '100.100.100.200',
    '168.63.129.16',
    'fd00:ec2::254',
    'fe80::1',
    '0.0.0.0',
    '::',
    '224.0.0.1',
    '::ffff:169.254.169.254',
    '64:ff9b::a9fe:a9fe',
    '2002:a9fe:a9fe::',
    '::169.254.169.254',
    'nonsense',
  ])('never admits %s, whatever is allowed', (address) => {
    expect(admitsAddress(everything, address, true)).toBe(false);
  });
});
