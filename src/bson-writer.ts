/**
 * Writes BSON documents one behind the other into a buffer that grows.
 *
 * Shared by `decode/` (a record's own fields) and `load/` (the computed ones), so that a document is written once,
 * in place, without an intermediate object. @see https://bsonspec.org/spec.html
 */
export class BsonWriter {
  bytes: Buffer;
  /** Of the same bytes. */
  view: DataView;
  /** Where the next byte goes. */
  offset: number;
  private readonly room: number;

  /**
   * @param memory - to be written, or how large it is to be. Unit: bytes
   * @param room - bytes left free before the first document
   */
  constructor(memory: Buffer | number = 1 << 20, room = 0) {
    this.bytes = typeof memory === "number" ? Buffer.allocUnsafeSlow(memory) : memory;
    this.view = viewOver(this.bytes);
    this.room = this.offset = room;
  }

  /** Makes room for `more` bytes behind `offset`. Callers that write to `bytes` themselves must call it first. */
  reserve(more: number): void {
    const needed = this.offset + more;
    if (needed <= this.bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
    this.bytes.copy(grown, 0, 0, this.offset);
    this.bytes = grown;
    this.view = viewOver(grown);
  }

  /** Gives what was written and goes on in another buffer: the old one belongs to the caller. */
  take(next: Buffer | number = this.bytes.length): Buffer {
    const taken = this.bytes.subarray(this.room, this.offset);
    this.bytes = typeof next === "number" ? Buffer.allocUnsafeSlow(next) : next;
    this.view = viewOver(this.bytes);
    this.offset = this.room;
    return taken;
  }

  /** Begins a document or array body; `end` takes what this returns. */
  begin(): number {
    this.reserve(5);
    const start = this.offset;
    this.offset += 4;
    return start;
  }

  end(start: number): void {
    this.reserve(1);
    this.bytes[this.offset++] = 0;
    this.bytes.writeInt32LE(this.offset - start, start);
  }

  beginDocument(name: string): number {
    this.key(0x03, name);
    return this.begin();
  }

  beginArray(name: string): number {
    this.key(0x04, name);
    return this.begin();
  }

  /** An element's type byte and name. The name must hold no NUL. */
  key(type: number, name: string): void {
    this.reserve(name.length * 3 + 2);
    this.bytes[this.offset++] = type;
    this.offset += writeText(this.bytes, name, this.offset);
    this.bytes[this.offset++] = 0;
  }

  /** An array element's type byte and name: its index in decimal. */
  indexKey(type: number, index: number): void {
    this.reserve(12);
    this.bytes[this.offset++] = type;
    this.offset = writeDecimal(this.bytes, this.offset, index);
    this.bytes[this.offset++] = 0;
  }

  null(name: string): void {
    this.key(0x0a, name);
  }

  boolean(name: string, value: boolean): void {
    this.key(0x08, name);
    this.reserve(1);
    this.bytes[this.offset++] = value ? 1 : 0;
  }

  double(name: string, value: number): void {
    this.key(0x01, name);
    this.reserve(8);
    this.offset = this.bytes.writeDoubleLE(value, this.offset);
  }

  int32(name: string, value: number): void {
    this.key(0x10, name);
    this.reserve(4);
    this.offset = this.bytes.writeInt32LE(value, this.offset);
  }

  int64(name: string, value: number | bigint): void {
    this.key(0x12, name);
    this.int64Value(value);
  }

  /** A whole number: int32 where it fits, else int64. `value` must be a safe integer. */
  integer(name: string, value: number): void {
    if (value === (value | 0)) this.int32(name, value);
    else this.int64(name, value);
  }

  /** Eight bytes, without type or name. A number must be a safe integer. */
  int64Value(value: number | bigint): void {
    this.reserve(8);
    if (typeof value === "bigint") {
      this.offset = this.bytes.writeBigInt64LE(value, this.offset);
      return;
    }
    this.offset = putInt64(this.view, this.offset, value);
  }

  string(name: string, value: string): void {
    this.key(0x02, name);
    this.stringValue(value);
  }

  /** An object's id: int64, or text. */
  id(name: string, id: number | string | bigint): void {
    if (typeof id === "string") this.string(name, id);
    else this.int64(name, id);
  }

  /** Length, bytes and NUL, without type or name. Lone surrogates become U+FFFD, as Buffer writes them. */
  stringValue(value: string): void {
    this.reserve(value.length * 3 + 5);
    const written = writeText(this.bytes, value, this.offset + 4);
    this.bytes.writeInt32LE(written + 1, this.offset);
    this.offset += 4 + written;
    this.bytes[this.offset++] = 0;
  }

  /** A string from bytes that are valid UTF-8. */
  stringBytes(name: string, utf8: Uint8Array): void {
    this.key(0x02, name);
    this.reserve(utf8.length + 5);
    this.offset = this.bytes.writeInt32LE(utf8.length + 1, this.offset);
    this.bytes.set(utf8, this.offset);
    this.offset += utf8.length;
    this.bytes[this.offset++] = 0;
  }

  binary(name: string, value: Uint8Array): void {
    this.key(0x05, name);
    this.reserve(value.length + 5);
    this.offset = this.bytes.writeInt32LE(value.length, this.offset);
    this.bytes[this.offset++] = 0; // Subtype 0: generic.
    this.bytes.set(value, this.offset);
    this.offset += value.length;
  }
}

/** Short ASCII by hand: a call into the runtime costs more than the few bytes of a usual name. */
function writeText(target: Buffer, text: string, offset: number): number {
  if (text.length > 40) return target.write(text, offset, "utf8");
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code > 0x7f) return target.write(text, offset, "utf8");
    target[offset + index] = code;
  }
  return text.length;
}

/** Writes a whole number below 2^31 in decimal; gives the offset behind it. */
export function writeDecimal(target: Buffer, offset: number, value: number): number {
  let digits = 1;
  for (let bound = 10; bound <= value; bound *= 10) digits++;
  let rest = value;
  for (let at = offset + digits - 1; at >= offset; at--) {
    const tenth = Math.floor(rest / 10);
    target[at] = 0x30 + rest - tenth * 10;
    rest = tenth;
  }
  return offset + digits;
}

/** The low 32 bits of a whole number. Gives the offset behind them. */
export function putInt32(view: DataView, offset: number, value: number): number {
  view.setInt32(offset, value, true);
  return offset + 4;
}

/** A safe integer in eight bytes. Gives the offset behind them. */
export function putInt64(view: DataView, offset: number, value: number): number {
  const high = Math.floor(value / 0x1_0000_0000);
  view.setInt32(offset, value - high * 0x1_0000_0000, true);
  view.setInt32(offset + 4, high, true);
  return offset + 8;
}

function viewOver(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
