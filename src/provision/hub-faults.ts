/** What the errors of the hub's client mean for the operator. */
import { withoutCredentials } from '../errors.ts';

export interface Fault {
  /** What it was, and what to do. */
  what: string;
  /** Whether trying again can help. */
  mayPass: boolean;
  /** Whether what an earlier download left is to blame. */
  isLeftover?: boolean;
  cause?: Error;
}

/** The most telling first. */
const FAULTS: readonly { sign: RegExp; what: string }[] = [
  {
    sign: /GatedRepoError/,
    what: 'it is gated. Ask for access on its page, and set HF_TOKEN to a token of an account that has it.',
  },
  {
    sign: /Invalid credentials in Authorization header/,
    what: 'the hub does not take the token. Set HF_TOKEN to one that is valid, or unset it.',
  },
  {
    sign: /RevisionNotFoundError/,
    what: 'it has no such revision. Set MODEL_REVISION to a branch, tag or commit of it, or unset it.',
  },
  {
    sign: /RepositoryNotFoundError/,
    what: 'the hub has no model of that name, or it is private. Check MODEL_ID; for a private one set HF_TOKEN.',
  },
  {
    sign: /HFValidationError/,
    what: 'that is no name on the hub. Set MODEL_ID to `organisation/name`, or to the path of a checkpoint folder.',
  },
  {
    sign: /\[Errno (28|122)\]/,
    what:
      'the disk is full. Free some room, or set WORKSPACE (or HF_HOME) to a larger volume, and run it again: it' +
      ' goes on from where it was.',
  },
  {
    sign: /\[Errno (13|30)\]/,
    what: 'its cache cannot be written to. Prepare the volume where it can, or set HF_HOME to a folder that can.',
  },
  {
    sign: /\[Errno (37|95)\]/,
    what: 'the file system of its cache has no locks. Set HF_HOME to a folder on another one.',
  },
  {
    sign: /SSLError/,
    what:
      'the certificate of the hub, or of a proxy before it, is not trusted here. Set REQUESTS_CA_BUNDLE to a file' +
      ' with the certificates to trust, or check HTTPS_PROXY and HF_ENDPOINT.',
  },
  {
    sign: /JSONDecodeError/,
    what: 'what answered is no hub, a page of a proxy say. Check the network, HTTPS_PROXY and HF_ENDPOINT.',
  },
  {
    sign: /(Missing|Invalid)Schema|InvalidURL|LocationParseError/,
    what: 'HF_ENDPOINT or HTTPS_PROXY is no URL. Set it to one, with its `https://`, or unset it.',
  },
];

const NETWORK =
  /LocalEntryNotFoundError|ConnectionError|ProxyError|ChunkedEncodingError|Timeout|(429|50\d) .*Error/;

const NO_NETWORK =
  'the hub cannot be reached. Check the network (HTTPS_PROXY and HF_ENDPOINT, if you use them) and run it again:' +
  ' it goes on from where it was. Or set MODEL_ID to the path of a checkpoint folder.';

/** That the hub was not there, or no more. */
export function unreachable(why: string, cause?: Error): Fault {
  return { what: `${NO_NETWORK} (${why})`, mayPass: true, ...(cause && { cause }) };
}

/** What a run that failed said on its standard error, read for its meaning. */
export function diagnose(stderr: string): Fault {
  // A mirror's URL may have a password in it.
  const text = withoutCredentials(stderr.trim());
  const cause = new Error(text.slice(-4000));
  const known = FAULTS.find(({ sign }) => sign.test(text));
  if (known) return { what: known.what, mayPass: false, cause };
  if (/416 Client Error/.test(text)) {
    const what = 'what was left of an earlier download was of no use';
    return { what, mayPass: true, isLeftover: true, cause };
  }
  const said = lastError(text);
  if (NETWORK.test(text)) return unreachable(said, cause);
  return { what: said || 'the client failed without a word', mayPass: true, cause };
}

/** The error that Python ended with, in short: of a connection, what the system said. */
function lastError(text: string): string {
  const [line = ''] = text.match(/^[\w.]*(Error|Exception|Timeout): .*$/gm)?.slice(-1) ?? [];
  const short = line.replace(/^[\w.]*\.(?=\w+: )/, '');
  const [, system] = /\[Errno -?\d+\] ([^"'\\)\]]+)/.exec(short) ?? [];
  return system ? `${short.split(':')[0]}: ${system}` : short.slice(0, 300);
}
