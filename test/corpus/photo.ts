import sharp from 'sharp';

/** A small image with something in it, so that its map is not flat. */
export const PHOTO = await sharp(
  Buffer.from(Array.from({ length: 48 * 64 * 3 }, (_, at) => (at * at) % 251)),
  { raw: { width: 64, height: 48, channels: 3 } },
)
  .png()
  .toBuffer();

export const PHOTO_BASE64 = PHOTO.toString('base64');

/** An input that is answered, quickly. */
export const GOOD = { image_base64: PHOTO_BASE64, processing_res: 64 };
