import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressKind } from '../../src/net/addresses.ts';

const PUBLIC = [
  '1.1.1.1',
  '8.8.8.8',
  '9.255.255.255',
  '11.0.0.0',
  '93.184.216.34',
  '100.63.255.255',
  '100.128.0.0',
  '126.255.255.255',
  '128.0.0.1',
  '169.253.255.255',
  '169.255.0.0',
  '172.15.255.255',
  '172.32.0.0',
  '192.167.255.255',
  '192.169.0.0',
  '198.17.255.255',
  '198.20.0.0',
  '223.255.255.255',
  '2001:200::1',
  '2001:4860:4860::8888',
  '2606:4700:4700::1111',
  '2a00:1450:4001:81b::200e',
];

const OWN = [
  '10.0.0.0',
  '10.255.255.255',
  '100.64.0.0',
  '100.127.255.255',
  '127.0.0.1',
  '127.255.255.255',
  '172.16.0.0',
  '172.31.255.255',
  '192.0.0.8',
  '192.0.2.1',
  '192.168.0.0',
  '192.168.255.255',
  '198.18.0.0',
  '198.19.255.255',
  '198.51.100.7',
  '203.0.113.7',
  '240.0.0.1',
  '::1',
  'fc00::',
  'fdff:ffff::1',
];

const NEVER = [
  '0.0.0.0',
  '0.1.2.3',
  '169.254.0.1',
  '169.254.169.254', // AWS, Google, Azure, OpenStack
  '169.254.170.2', // AWS ECS
  '100.100.100.200', // Alibaba
  '168.63.129.16', // Azure, in the public range
  '192.0.0.192', // Oracle
  '224.0.0.1',
  '239.255.255.255',
  '255.255.255.255',
  '::',
  'fd00:ec2::254',
  'FD00:0EC2:0:0:0:0:0:0254',
  'fd20:ce::254',
  'fe80::1',
  'febf::1',
  'fec0::1',
  'ff02::1',
  '::ffff:127.0.0.1',
  '::ffff:8.8.8.8',
  '::ffff:7f00:1',
  '::ffff:0:127.0.0.1',
  '::127.0.0.1',
  '::8.8.8.8',
  '64:ff9b::7f00:1',
  '64:ff9b::8.8.8.8',
  '64:ff9b:1::a00:1',
  '64:ff9b:1:ffff::1',
  '100::1',
  '2001::1', // Teredo
  '2001:0:4136:e378:8000:63bf:3fff:fdd2',
  '2001:2::1', // benchmarking
  '2001:20::1', // ORCHID
  '2001:db8::1',
  '2002:7f00:1::', // 6to4
  '3fff::1',
  '4000::1',
  '5f00::1',
];

describe('addressKind', () => {
  it.each(PUBLIC)('knows %s as public', (address) => expect(addressKind(address)).toBe('public'));
  it.each(OWN)("knows %s as somebody's own", (address) => expect(addressKind(address)).toBe('own'));
  it.each(NEVER)('never admits %s', (address) => expect(addressKind(address)).toBe('never'));

  it.each([
    '',
    'localhost',
    'example.com',
    '8.8.8',
    '8.8',
    '134744072',
    '0x08080808',
    '010.8.8.8',
    '8.8.8.8.',
    ' 8.8.8.8',
    '8.8.8.8/32',
    '[2606:4700:4700::1111]',
    '2606:4700:4700::1111%eth0',
    'fe80::1%1',
    '8.8.8.8\0',
  ])('takes no other spelling: %j', (text) => expect(addressKind(text)).toBe('never'));

  it('admits nothing of IPv6 outside of global unicast', () => {
    const groups = fc.array(fc.nat(0xffff), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(groups, (parts) => {
        const address = parts.map((part) => part.toString(16)).join(':');
        const isGlobal = (parts[0] ?? 0) >> 13 === 1;
        if (!isGlobal) expect(addressKind(address)).not.toBe('public');
      }),
      { numRuns: 2000 },
    );
  });
});
