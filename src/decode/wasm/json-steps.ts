/**
 * Steps over JSON bytes, sixteen at a time. Each takes the place of a first byte and gives the place behind the last
 * one, or 0: "not ordinary", which sends the record to the plain path. Only what is ordinary must be right here.
 *
 * A byte below 0x20 must follow the text (the line feed): that is what ends every loop, so that none checks bounds.
 * Sixteen bytes before the text and sixteen behind it may be read.
 */

/** Nesting that is followed: far below what the plain path allows, far above what real dumps hold. */
const nestingMax: i32 = 60;

const containers = memory.data(64);

/** Behind blanks. */
export function skipBlank(at: usize): usize {
  let next = at;
  while (true) {
    const byte = load<u8>(next);
    if (byte !== 0x20 && byte !== 0x09) return next;
    next++;
  }
}

/** Which of sixteen bytes end or interrupt plain text: quote, backslash, control character, beyond ASCII. */
export function stops(bytes: v128): i32 {
  const odd = v128.or(
    v128.or(i8x16.eq(bytes, i8x16.splat(0x22)), i8x16.eq(bytes, i8x16.splat(0x5c))),
    // As signed bytes, those beyond ASCII are below a blank, too.
    i8x16.lt_s(bytes, i8x16.splat(0x20)),
  );
  return i8x16.bitmask(odd);
}

/** A string, from behind its opening quote. */
export function skipString(at: usize): usize {
  let next = at;
  while (true) {
    const found = stops(v128.load(next));
    if (found === 0) {
      next += 16;
      continue;
    }
    next += ctz(found);
    const byte = load<u8>(next);
    if (byte === 0x22) return next + 1;
    if (byte < 0x20) return 0;
    next = byte === 0x5c ? skipEscape(next + 1) : skipUtf8(next + 1, byte);
    if (next === 0) return 0;
  }
}

/** The value of a hexadecimal digit; -1: it is none. */
export function hexDigit(byte: u8): i32 {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** The unit of `\uXXXX`, from behind the u; -1: it is none. */
export function unitAt(at: usize): i32 {
  let unit = 0;
  for (let digit: usize = 0; digit < 4; digit++) {
    const value = hexDigit(load<u8>(at + digit));
    if (value < 0) return -1;
    unit = (unit << 4) | value;
  }
  return unit;
}

/** An escape, from behind its backslash. A lone surrogate is not ordinary. */
function skipEscape(at: usize): usize {
  const letter = load<u8>(at);
  if (letter === 0x75) {
    const unit = unitAt(at + 1);
    if (unit < 0 || (unit >= 0xdc00 && unit < 0xe000)) return 0;
    if (unit < 0xd800 || unit >= 0xe000) return at + 5;
    if (load<u8>(at + 5) !== 0x5c || load<u8>(at + 6) !== 0x75) return 0;
    const low = unitAt(at + 7);
    return low >= 0xdc00 && low < 0xe000 ? at + 11 : 0;
  }
  return escapedByte(letter) < 0 ? 0 : at + 1;
}

/** What the letter behind a backslash stands for; -1: no escape. */
export function escapedByte(letter: u8): i32 {
  switch (letter) {
    case 0x22: // quote
    case 0x5c: // backslash
    case 0x2f: // slash
      return letter;
    case 0x62: // b
      return 0x08;
    case 0x66: // f
      return 0x0c;
    case 0x6e: // n
      return 0x0a;
    case 0x72: // r
      return 0x0d;
    case 0x74: // t
      return 0x09;
    default:
      return -1;
  }
}

/** The rest of a character of several bytes, from behind its first byte. @see RFC 3629, section 4 */
export function skipUtf8(at: usize, first: u8): usize {
  const second = load<u8>(at);
  if (first < 0xc2) return 0;
  if (first < 0xe0) return (second & 0xc0) === 0x80 ? at + 1 : 0;
  if ((second & 0xc0) !== 0x80 || (load<u8>(at + 1) & 0xc0) !== 0x80) return 0;
  if (first < 0xf0) {
    if (first === 0xe0 && second < 0xa0) return 0;
    return first === 0xed && second > 0x9f ? 0 : at + 2;
  }
  if (first > 0xf4 || (load<u8>(at + 2) & 0xc0) !== 0x80) return 0;
  if (first === 0xf0 && second < 0x90) return 0;
  return first === 0xf4 && second > 0x8f ? 0 : at + 3;
}

function isDigit(byte: u8): bool {
  return byte >= 0x30 && byte <= 0x39;
}

export function skipDigits(at: usize): usize {
  let next = at;
  while (isDigit(load<u8>(next))) next++;
  return next;
}

/** A number, checked by the grammar of RFC 8259. */
export function skipNumber(at: usize): usize {
  let next = at;
  if (load<u8>(next) === 0x2d) next++;
  if (load<u8>(next) === 0x30) next++;
  else {
    const from = next;
    next = skipDigits(next);
    if (next === from) return 0;
  }
  if (load<u8>(next) === 0x2e) {
    const from = next + 1;
    next = skipDigits(from);
    if (next === from) return 0;
  }
  if ((load<u8>(next) | 0x20) === 0x65) {
    next++;
    const sign = load<u8>(next);
    if (sign === 0x2b || sign === 0x2d) next++;
    const from = next;
    next = skipDigits(from);
    if (next === from) return 0;
  }
  return next;
}

/** `true`, `false` or `null`. */
export function skipWord(at: usize): usize {
  const word = load<u32>(at);
  if (word === 0x65757274 || word === 0x6c6c756e) return at + 4;
  return word === 0x736c6166 && load<u8>(at + 4) === 0x65 ? at + 5 : 0;
}

/** Any value. Keys of objects with an escape are not ordinary: one could hide NUL. */
export function skipValue(at: usize): usize {
  let next = at;
  let depth = 0;
  while (true) {
    next = skipBlank(next);
    const byte = load<u8>(next);
    if (byte === 0x22) next = skipString(next + 1);
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > nestingMax) return 0;
      store<u8>(containers + depth, byte);
      next = skipBlank(next + 1);
      // { and }, [ and ] are two apart in ASCII.
      if (load<u8>(next) !== byte + 2) {
        if (byte === 0x7b) next = skipKey(next);
        if (next === 0) return 0;
        continue;
      }
      depth--;
      next++;
    } else if (byte === 0x2d || isDigit(byte)) next = skipNumber(next);
    else next = skipWord(next);
    if (next === 0) return 0;
    // Behind a value: close what ends here, or go on to the next value.
    while (true) {
      if (depth === 0) return next;
      next = skipBlank(next);
      const container = load<u8>(containers + depth);
      const behind = load<u8>(next);
      if (behind === 0x2c) {
        next++;
        if (container === 0x7b) next = skipKey(next);
        if (next === 0) return 0;
        break;
      }
      if (behind !== container + 2) return 0;
      depth--;
      next++;
    }
  }
}

/** A key and its colon. */
export function skipKey(at: usize): usize {
  let next = skipBlank(at);
  if (load<u8>(next) !== 0x22) return 0;
  const from = next + 1;
  next = skipString(from);
  if (next === 0) return 0;
  if (hasEscape(from, next - 1)) return 0;
  next = skipBlank(next);
  return load<u8>(next) === 0x3a ? next + 1 : 0;
}

/** Whether a backslash stands in the bytes. */
export function hasEscape(from: usize, to: usize): bool {
  for (let at = from; at < to; at += 16) {
    const found = i8x16.bitmask(i8x16.eq(v128.load(at), i8x16.splat(0x5c)));
    if (found !== 0) return at + ctz(found) < to;
  }
  return false;
}

/** How many strings the list had that `skipStrings` read last. */
export let stringCount: u32 = 0;

/** A list of strings. */
export function skipStrings(at: usize): usize {
  stringCount = 0;
  if (load<u8>(at) !== 0x5b) return 0;
  let next = skipBlank(at + 1);
  if (load<u8>(next) === 0x5d) return next + 1;
  while (true) {
    if (load<u8>(next) !== 0x22) return 0;
    next = skipString(next + 1);
    if (next === 0) return 0;
    stringCount++;
    next = skipBlank(next);
    const behind = load<u8>(next);
    if (behind === 0x5d) return next + 1;
    if (behind !== 0x2c) return 0;
    next = skipBlank(next + 1);
  }
}

/** Behind the number or address that `wholeAt` or `addressAt` read last. */
export let numberEnd: usize = 0;

/** The whole number at `at`, of at most 15 digits; -1: not ordinary (a fraction, an exponent, a sign, longer). */
export function wholeAt(at: usize): i64 {
  let next = at;
  let value: i64 = 0;
  while (true) {
    const byte = load<u8>(next);
    if (!isDigit(byte)) {
      numberEnd = next;
      const digits = next - at;
      if (digits === 0 || digits > 15 || (digits > 1 && load<u8>(at) === 0x30)) return -1;
      return byte === 0x2e || (byte | 0x20) === 0x65 ? -1 : value;
    }
    value = value * 10 + (byte - 0x30);
    next++;
  }
}

/** The address in quotes at `at`, below 2^52; -1: not ordinary. */
export function addressAt(at: usize): i64 {
  // `"0x`, and what comes next.
  if ((load<u32>(at) & 0xffffff) !== 0x783022) return -1;
  const first = at + 3;
  const quotes = i8x16.bitmask(i8x16.eq(v128.load(first), i8x16.splat(0x22)));
  const digits = ctz(quotes);
  if (quotes === 0 || digits === 0 || digits > 13) return -1;
  numberEnd = first + digits + 1;
  // The last sixteen bytes before the quote: the digits stand at the end of them.
  const bytes = v128.load(first + digits - 16);
  const isNumber = i8x16.lt_u(i8x16.sub(bytes, i8x16.splat(0x30)), i8x16.splat(10));
  const isLetter = i8x16.lt_u(i8x16.sub(bytes, i8x16.splat(0x61)), i8x16.splat(6));
  const wanted = (0xffff << (16 - digits)) & 0xffff;
  if ((i8x16.bitmask(v128.or(isNumber, isLetter)) & wanted) !== wanted) return -1;
  const values = v128.or(
    v128.and(isNumber, i8x16.sub(bytes, i8x16.splat(0x30))),
    v128.and(isLetter, i8x16.sub(bytes, i8x16.splat(0x57))),
  );
  // Two digits a byte: of each pair, the first one stands below.
  const pairs = v128.or(i16x8.shl(v128.and(values, i16x8.splat(0xff)), 4), i16x8.shr_u(values, 8));
  const packed = i64x2.extract_lane(i8x16.narrow_i16x8_u(pairs, pairs), 0);
  const shift = (16 - digits) << 2;
  return ((bswap<u64>(packed as u64) << shift) >> shift) as i64;
}

/** Whether the same bytes stand at both places; those behind them are read, too. */
export function isSame(one: usize, two: usize, length: u32): bool {
  let at: u32 = 0;
  while (at + 16 <= length) {
    if (v128.any_true(v128.xor(v128.load(one + at), v128.load(two + at)))) return false;
    at += 16;
  }
  const rest = length - at;
  if (rest === 0) return true;
  const differing = i8x16.bitmask(i8x16.ne(v128.load(one + at), v128.load(two + at)));
  return (differing & ((1 << rest) - 1)) === 0;
}

/** Behind a key's text, from behind its opening quote. 0: not plain ASCII. */
export function keyEnd(from: usize): usize {
  let at = from;
  while (true) {
    const bytes = v128.load(at);
    const found = stops(bytes) | i8x16.bitmask(i8x16.eq(bytes, i8x16.splat(0x7f)));
    if (found === 0) {
      at += 16;
      continue;
    }
    at += ctz(found);
    return load<u8>(at) === 0x22 ? at : 0;
  }
}
