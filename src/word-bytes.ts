/**
 * Bytes that are compared with or copied often, four at a time: a step of a loop over single bytes costs as much as a
 * whole word.
 *
 * Shared by `decode/` (keys, flags) and `load/` (names of computed fields).
 */
export type Words = {
  readonly length: number;
  /** Little-endian, the last one filled up with zeros. */
  readonly words: Int32Array;
  /** Which bits of the last word count. */
  readonly lastMask: number;
};

export function wordsOf(bytes: Uint8Array): Words {
  const count = Math.ceil(bytes.length / 4);
  const padded = new DataView(new ArrayBuffer(count * 4));
  for (let at = 0; at < bytes.length; at++) padded.setUint8(at, bytes[at] as number);
  const words = new Int32Array(count);
  for (let index = 0; index < count; index++) words[index] = padded.getInt32(index * 4, true);
  return { length: bytes.length, words, lastMask: (-1 >>> ((count * 4 - bytes.length) * 8)) | 0 };
}

/**
 * Whether the bytes stand at `at`.
 *
 * @param end - the view's length, which is slow to ask for
 */
export function wordsStandAt(text: Words, view: DataView, at: number, end: number): boolean {
  const { words } = text;
  const last = words.length - 1;
  if (last < 0 || at + last * 4 + 4 > end) return false;
  for (let index = 0; index < last; index++) {
    if (view.getInt32(at + index * 4, true) !== words[index]) return false;
  }
  return ((view.getInt32(at + last * 4, true) ^ (words[last] as number)) & text.lastMask) === 0;
}

/** Copies the bytes; up to three behind them are overwritten. Gives the offset behind them. */
export function putWords(view: DataView, offset: number, text: Words): number {
  const { words } = text;
  for (let index = 0; index < words.length; index++) {
    view.setInt32(offset + index * 4, words[index] as number, true);
  }
  return offset + text.length;
}
