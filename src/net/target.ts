import net from 'node:net';
import { type AllowList, admitsAddress, allowsName, isHostName, isInNetworks } from './allow.ts';

/** Longer ones are no address of an image; browsers and servers stop at about as much. */
const MAX_URL_LENGTH = 8192;
/** A path is shown for recognition; it may be as long as the URL. */
const MAX_SHOWN = 200;

/**
 * Zones that mean the network one is in (RFC 6761, 6762, 8375, ICANN's decision on `internal`, what routers and
 * companies use and the root will not have). Their addresses would be refused as well, but for networks that use public
 * ranges inside.
 */
const LOCAL_ZONES = [
  'localhost',
  'local',
  'internal',
  'home.arpa',
  'localdomain',
  'home',
  'lan',
  'corp',
  'intranet',
  'private',
];

/**
 * The ports of the two schemes, and those that any user may serve at. Below lie the services of others, mail
 * and SSH among them: nobody keeps pictures there, and we are no port scanner.
 */
const WELL_KNOWN_PORTS = [80, 443];
const FIRST_USER_PORT = 1024;

/** An address that may be asked for, as far as it can be told without resolving its name. */
export interface Target {
  readonly url: URL;
  /** The host's name or address, without brackets. */
  readonly host: string;
  readonly isAddress: boolean;
  readonly port: number;
  /** Whether the operator has allowed the host by its name. */
  readonly isNameAllowed: boolean;
}

/**
 * Read an address that a stranger gave, or that another one's answer has redirected to.
 *
 * `URL` makes one spelling of many: decimal, octal, hex and short IPv4, full-width digits, percent signs and
 * IDN in hosts, tabs and line breaks. Only what it gives is looked at, and used, afterwards.
 *
 * @throws Refusal
 */
export function parseTarget(text: string, allow: AllowList, base?: URL): Target {
  const url = text.length > MAX_URL_LENGTH ? null : URL.parse(text, base?.href);
  if (url === null) throw new Refusal('is no URL: give one like https://example.com/image.jpg');
  if (url.protocol === 'data:') throw new Refusal('is a data URL: send it as image_base64');
  if (!isWeb(url)) {
    const scheme = shorten(url.protocol);
    throw new Refusal(`has the scheme ${scheme}, and only https: and http: are fetched`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new Refusal('has a user name or password in it: use an address that needs none');
  }
  url.hostname = url.hostname.replace(/\.$/, ''); // with the root's dot it is the same name
  return checkHost(url, allow);
}

function checkHost(url: URL, allow: AllowList): Target {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const isAddress = net.isIP(host) !== 0;
  if (!isAddress && !isHostName(host)) throw new Refusal('has no valid host name');
  const isNameAllowed = !isAddress && allowsName(allow, host);
  if (isAddress ? !admitsAddress(allow, host, false) : !isNameAllowed && isLocalName(host)) {
    throw notPublic();
  }
  const isAllowed = isNameAllowed || (isAddress && isInNetworks(allow, host));
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
  if (!isAllowed && !WELL_KNOWN_PORTS.includes(port) && port < FIRST_USER_PORT) {
    throw new Refusal(`has the port ${port}: use 80, 443, or one from ${FIRST_USER_PORT}`);
  }
  return { url, host, isAddress, port, isNameAllowed };
}

function isLocalName(name: string): boolean {
  return (
    !name.includes('.') || LOCAL_ZONES.some((zone) => name === zone || name.endsWith(`.${zone}`))
  );
}

/**
 * The guard says no. The message says what is wrong with the address and goes on from its name: `image_url
 * https://example.com/image.jpg` + `is ...`. What only the log should know is the cause.
 */
export class Refusal extends Error {
  override readonly name = 'Refusal';
}

/**
 * The one text for every host that is not on the public internet: it must not tell what there is in the
 * network that we are in.
 */
export function notPublic(cause?: Error): Refusal {
  return new Refusal(
    'is not on the public internet: use an address that is, or have the operator allow the host in' +
      ' LOTUS_FETCH_ALLOW',
    { cause },
  );
}

/**
 * A URL as anybody may see it: what is after the path may hold a token, what is before the host a password.
 * Nothing of one that is not of the web: a data URL is an image.
 */
export function showUrl(text: string): string {
  const url = URL.parse(text);
  return url !== null && isWeb(url) ? shorten(`${url.origin}${url.pathname}`) : '';
}

function isWeb(url: URL): boolean {
  return url.protocol === 'https:' || url.protocol === 'http:';
}

function shorten(text: string): string {
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}...` : text;
}
