/**
 * sharp, and libvips below it, as this process uses them: three loaders out of two dozen, and no memory of what
 * was done before.
 *
 * Blocking is for the whole process and comes before any image. libvips looks at an image's first bytes, asks one
 * loader after the other, and gives it to the first that wants it; one that is blocked is passed over. So whatever
 * gets past our own look at those bytes finds no SVG, PDF, GIF, TIFF, HEIF or ImageMagick to run.
 */
import sharp from 'sharp';

export const LOADERS = ['Jpeg', 'Png', 'Webp'].map((kind) => `VipsForeignLoad${kind}Buffer`);

sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({ operation: LOADERS });

// No image comes twice; what it keeps of old ones is memory that nobody has a use for.
sharp.cache(false);

export { sharp };
