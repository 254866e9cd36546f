/**
 * Finds known keys among bytes: by length, then byte by byte. Gives the key's number in the list, or -1.
 */
export function keyCodesOf(
  keys: readonly string[],
): (bytes: Buffer, from: number, to: number) => number {
  const byLength: { readonly bytes: Buffer; readonly code: number }[][] = [];
  keys.forEach((key, code) => {
    const bytes = Buffer.from(key, "utf8");
    (byLength[bytes.length] ??= []).push({ bytes, code });
  });
  for (let length = 0; length < byLength.length; length++) byLength[length] ??= [];
  return (bytes, from, to) => {
    const candidates = byLength[to - from];
    if (candidates === undefined) return -1;
    for (let index = 0; index < candidates.length; index++) {
      const candidate = candidates[index] as { readonly bytes: Buffer; readonly code: number };
      let at = 0;
      while (at < candidate.bytes.length && candidate.bytes[at] === bytes[from + at]) at++;
      if (at === candidate.bytes.length) return candidate.code;
    }
    return -1;
  };
}
