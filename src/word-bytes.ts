/**
 * Bytes that are compared with or copied often, eight at a time: a step of a loop over single bytes costs as much as a
 * whole word. Words are doubles, as those are the only eight bytes that JavaScript takes at once without an allocation.
 *
 * Shared by `decode/` (keys, flags) and `load/` (names of computed fields).
 */
export type Words = {
  readonly bytes: Uint8Array;
  readonly length: number;
  /** To write: the bytes, filled up with zeros. */
  readonly padded: Float64Array;
  /** To compare, from eight bytes on: the bytes, the last word overlapping the one before. */
  readonly compared: Float64Array;
  /** The first and the last four bytes. */
  readonly first: number;
  readonly last: number;
};

/** Bytes behind a copy that may be overwritten: room for so many more must be reserved. */
export const wordSlack = 8;

export function wordsOf(bytes: Uint8Array): Words {
  const { length } = bytes;
  const count = Math.ceil(length / 8);
  const view = new DataView(new ArrayBuffer(count * 8));
  for (let at = 0; at < length; at++) view.setUint8(at, bytes[at] as number);
  const padded = new Float64Array(count);
  for (let index = 0; index < count; index++) padded[index] = view.getFloat64(index * 8, true);
  const compared = new Float64Array(length < 8 ? 0 : count);
  for (let index = 0; index < compared.length; index++) {
    compared[index] = view.getFloat64(Math.min(index * 8, length - 8), true);
  }
  const none = new Float64Array(0);
  return {
    bytes: Uint8Array.from(bytes),
    length,
    // A double that is no number need not keep its bits.
    padded: padded.includes(NaN) ? none : padded,
    compared: compared.includes(NaN) ? none : compared,
    first: length < 4 ? 0 : view.getInt32(0, true),
    last: length < 4 ? 0 : view.getInt32(length - 4, true),
  };
}

/**
 * Whether text stands at `at`. Of less than four bytes: never. The bytes must be text without control characters: the
 * words of others could be NaN or two kinds of zero.
 *
 * @param end - the view's length, which is slow to ask for
 */
export function wordsStandAt(text: Words, view: DataView, at: number, end: number): boolean {
  const { length, compared } = text;
  if (length < 4 || at + length > end) return false;
  if (length < 8) {
    return (
      view.getInt32(at, true) === text.first && view.getInt32(at + length - 4, true) === text.last
    );
  }
  const last = compared.length - 1;
  if (last < 0) return false;
  for (let index = 0; index < last; index++) {
    if (view.getFloat64(at + index * 8, true) !== compared[index]) return false;
  }
  return view.getFloat64(at + length - 8, true) === compared[last];
}

/** Copies the bytes. Gives the offset behind them. */
export function putWords(view: DataView, offset: number, text: Words): number {
  const { padded, length } = text;
  if (padded.length === 0) return putBytes(view, offset, text);
  for (let index = 0; index < padded.length; index++) {
    view.setFloat64(offset + index * 8, padded[index] as number, true);
  }
  return offset + length;
}

/** Apart, as it is rare: the shorter a function, the sooner a compiler puts it in its caller's place. */
function putBytes(view: DataView, offset: number, { bytes }: Words): number {
  for (let index = 0; index < bytes.length; index++) {
    view.setUint8(offset + index, bytes[index] as number);
  }
  return offset + bytes.length;
}
