/** The polynomial of CRC-32, its bits reversed. */
const polynomial = 0xedb88320;

/** a times b, modulo the polynomial; the highest bit is x to the 0. */
function product(a: number, b: number): number {
  let sum = 0;
  let factor = b;
  for (let bit = 0x8000_0000; ; bit >>>= 1) {
    if ((a & bit) !== 0) {
      sum ^= factor;
      if ((a & (bit - 1)) === 0) return sum;
    }
    factor = (factor & 1) === 0 ? factor >>> 1 : (factor >>> 1) ^ polynomial;
  }
}

/** x to the power of 2 to the n, for n from 0. */
const squares = [0x4000_0000];
while (squares.length < 32)
  squares.push(product(squares.at(-1) as number, squares.at(-1) as number));

/**
 * The CRC-32 of bytes from those of two parts.
 *
 * @param secondBytes - length of the second part. Unit: bytes
 * @see https://github.com/madler/zlib/blob/v1.3/crc32.c, crc32_combine
 */
export function combinedCrc32(first: number, second: number, secondBytes: number): number {
  let power = 0x8000_0000;
  // By 8 times the length in bits: the squares begin with the third.
  for (let rest = secondBytes, index = 3; rest > 0; rest = Math.floor(rest / 2), index++) {
    if (rest % 2 === 1) power = product(squares[index & 31] as number, power);
  }
  return (product(power, first) ^ second) >>> 0;
}
