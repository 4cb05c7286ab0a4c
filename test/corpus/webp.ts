/** WebPs by hand. */

export function riffChunk(type: string, data: Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head.write(type, 'latin1');
  head.writeUInt32LE(data.length, 4);
  return Buffer.concat([head, data, Buffer.alloc(data.length & 1)]);
}

export function makeWebp(...chunks: Buffer[]): Buffer {
  return riffChunk('RIFF', Buffer.concat([Buffer.from('WEBP'), ...chunks]));
}

/** Flags of VP8X. */
export const ANIMATION = 0x02;
export const EXIF = 0x08;

export function canvas(flags: number, width: number, height: number): Buffer {
  const data = Buffer.alloc(10);
  data.writeUInt8(flags);
  data.writeUIntLE(width - 1, 4, 3);
  data.writeUIntLE(height - 1, 7, 3);
  return riffChunk('VP8X', data);
}

/** The one image chunk of a simple WebP. */
export const imageOf = (webp: Buffer) => webp.subarray(12);

/** An animation whose frames are all this simple WebP. */
export function makeAnimation(webp: Buffer, edge: number, frames: number): Buffer {
  const placed = Buffer.alloc(16);
  placed.writeUIntLE(edge - 1, 6, 3);
  placed.writeUIntLE(edge - 1, 9, 3);
  const frame = riffChunk('ANMF', Buffer.concat([placed, imageOf(webp)]));
  return makeWebp(
    canvas(ANIMATION, edge, edge),
    riffChunk('ANIM', Buffer.alloc(6)),
    Buffer.alloc(frame.length * frames, frame),
  );
}
