import net from 'node:net';
import ipaddr from 'ipaddr.js';

/**
 * Where the metadata services of clouds answer, with credentials in what they say, as far as that is not
 * link-local, which is refused as a whole. Azure's is in the middle of the public range.
 */
const METADATA = [
  '100.100.100.200', // Alibaba
  '168.63.129.16', // Azure's wire server
  '192.0.0.192', // Oracle, classic
  'fd00:ec2::254', // AWS
  'fd00:ec2::23', // AWS, credentials of EKS pods
  'fd00:42::42', // Scaleway
  'fd20:ce::254', // Google
].map((address) => ipaddr.parse(address).toNormalizedString());

/** What IANA has given out as global unicast; the rest of IPv6 is reserved or means something else. */
const GLOBAL_UNICAST: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('2000::'), 3];

/** Networks of somebody's own: an operator may allow them. Everything else that is not public is never allowed. */
const OWN = new Set(['private', 'loopback', 'carrierGradeNat', 'uniqueLocal', 'reserved']);

/**
 * What an address is for.
 *
 * - `public`: unicast on the internet.
 * - `own`: a network of somebody's own: private, loopback, carrier-grade NAT, unique local, test networks.
 * - `never`: link-local, multicast, broadcast, unspecified, a metadata service, an IPv6 address that carries
 *   an IPv4 one (mapped, compatible, NAT64, 6to4, Teredo) and could mean any of the others, or no address.
 */
export type AddressKind = 'public' | 'own' | 'never';

/** Which kind an address is, of one spelling only: dotted decimal, or IPv6 without a zone. */
export function addressKind(address: string): AddressKind {
  const parsed = parseAddress(address);
  if (parsed === null || METADATA.includes(parsed.toNormalizedString())) return 'never';
  const range = parsed.range();
  if (range === 'unicast') return isGlobal(parsed) ? 'public' : 'never';
  // In IPv6, ipaddr.js has the addresses of Teredo's and other protocols' registry under this name too.
  if (range === 'reserved' && parsed.kind() === 'ipv6') return 'never';
  return OWN.has(range) ? 'own' : 'never';
}

function isGlobal(address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  return address instanceof ipaddr.IPv4 || address.match(GLOBAL_UNICAST);
}

/** An address in its usual spelling; null for anything else: ipaddr.js itself would take octal and short forms. */
export function parseAddress(address: string): ipaddr.IPv4 | ipaddr.IPv6 | null {
  if (net.isIP(address) === 0 || address.includes('%')) return null;
  return ipaddr.parse(address);
}
