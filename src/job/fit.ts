import { LotusError } from '../errors.ts';
import type { Answer } from './answer.ts';

/**
 * An answer as it may go out: one that is larger than the platform takes goes without its picture, which is saved, and
 * says so.
 *
 * @param maxBytes how many bytes of JSON it may have.
 * @throws LotusError `internal` when the picture can go neither way.
 */
export function fitAnswer(answer: Answer, maxBytes: number): Answer {
  const bytes = bytesOf(answer);
  if (bytes <= maxBytes || answer.image_base64 === null) return answer;
  if (answer.file_path === null) {
    throw new LotusError(
      'internal',
      `The map was made, but its picture is too large to be sent, ${bytes} bytes of ${maxBytes}, and could not be` +
        ` saved: ${answer.warnings.join('; ')}`,
    );
  }
  const warning =
    `image_base64 is null: the answer would have ${bytes} bytes, and at most ${maxBytes} are taken.` +
    ' The picture is in file_path; a smaller one (output_processing_res) fits.';
  return { ...answer, image_base64: null, warnings: [...answer.warnings, warning] };
}

/** Without making the text: a picture in base64 is one byte a character and needs no escapes. */
function bytesOf(answer: Answer): number {
  const rest = Buffer.byteLength(JSON.stringify({ ...answer, image_base64: '' }));
  return rest + (answer.image_base64?.length ?? 0);
}
