import ipaddr from 'ipaddr.js';
import { addressKind, parseAddress } from './addresses.ts';

/** What an operator allows beside the public internet: `LOTUS_FETCH_ALLOW`. */
export interface AllowList {
  /** Host names in full. */
  readonly names: readonly string[];
  /** `.example.com` for `*.example.com`: any name that ends so. */
  readonly suffixes: readonly string[];
  /** Networks as `address/bits`. */
  readonly networks: readonly string[];
}

const NAME = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

/**
 * Whether a text may be a host name, as `URL` gives it: lower case, ASCII, at most 253 characters (RFC 1035),
 * no dot at the end. What looks like an IPv4 address in an odd spelling is none: resolvers differ on it.
 */
export function isHostName(text: string): boolean {
  return text.length <= 253 && NAME.test(text) && !/(^|\.)(\d+|0x[0-9a-f]*)$/.test(text);
}

/**
 * Read a comma-separated list of host names, `*.suffix`, addresses and networks.
 *
 * @returns the list, or the entries that are none of these.
 */
export function parseAllowList(text: string): { list: AllowList } | { wrong: string[] } {
  const entries = text
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .filter(Boolean);
  const read = entries.map((entry) => ({ entry, kind: kindOf(entry) }));
  const wrong = read.filter(({ kind }) => kind === null).map(({ entry }) => entry);
  if (wrong.length > 0) return { wrong };
  const of = (wanted: string) =>
    read.filter(({ kind }) => kind === wanted).map(({ entry }) => entry);
  return {
    list: {
      names: of('name'),
      suffixes: of('suffix').map((entry) => entry.slice(1)),
      networks: of('network').map(withBits),
    },
  };
}

function kindOf(entry: string): 'name' | 'suffix' | 'network' | null {
  const [address = '', bits] = entry.split('/');
  const parsed = parseAddress(address);
  if (parsed !== null) {
    const most = parsed.kind() === 'ipv4' ? 32 : 128;
    const isWhole = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most);
    return isWhole && entry.split('/').length <= 2 ? 'network' : null;
  }
  if (entry.startsWith('*.')) return isHostName(entry.slice(2)) ? 'suffix' : null;
  return isHostName(entry) ? 'name' : null;
}

function withBits(network: string): string {
  if (network.includes('/')) return network;
  return `${network}/${network.includes(':') ? 128 : 32}`;
}

/** Whether the operator has allowed a host by its name. */
export function allowsName(list: AllowList, name: string): boolean {
  return list.names.includes(name) || list.suffixes.some((suffix) => name.endsWith(suffix));
}

/**
 * Whether an address may be connected to: a public one, and one of somebody's own that the operator has
 * allowed, by the host's name or by its network. Nobody can allow a metadata service or link-local.
 *
 * @param own networks whose addresses are somebody's own, although they look public; `address/bits`.
 */
export function admitsAddress(
  list: AllowList,
  address: string,
  isNameAllowed: boolean,
  own: readonly string[] = [],
): boolean {
  const kind = addressKind(address);
  if (kind === 'never') return false;
  if (kind === 'public' && !isIn(own, address)) return true;
  return isNameAllowed || isInNetworks(list, address);
}

/** Whether an address is in a network that the operator has named. */
export function isInNetworks({ networks }: AllowList, address: string): boolean {
  return isIn(networks, address);
}

function isIn(networks: readonly string[], address: string): boolean {
  const parsed = parseAddress(address);
  return networks.some((network) => {
    const [base, bits] = ipaddr.parseCIDR(network);
    return parsed?.kind() === base.kind() && parsed.match(base, bits);
  });
}
