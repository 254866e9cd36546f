import { Readable } from "node:stream";
import { parser } from "stream-json";

type Token = { readonly name: string; readonly value?: string | boolean | null };

/**
 * The elements of a JSON array, each as compact JSON text in Latin-1 (one character a byte): the definition of what
 * `arrayElementBlocks` gives for an array that is whole.
 *
 * stream-json decodes strings, and text must stay exact (escapes, broken bytes): so every backslash is doubled before
 * the parser sees it, which then hands escapes through as they are written.
 *
 * @throws {Error} on anything that is no JSON: here, one bad element costs the rest
 */
export async function* arrayElementsPlain(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const tokens = Readable.from(withEscapesDoubled(chunks)).pipe(
    parser.asStream({ packKeys: true, packStrings: true, packNumbers: true, streamValues: false }),
  );
  let depth = 0;
  let text = "";
  let isFirst = true;
  for await (const { name, value } of tokens as AsyncIterable<Token>) {
    if (name === "endArray" || name === "endObject") {
      depth--;
      if (depth === 0) break;
      text += name === "endArray" ? "]" : "}";
      isFirst = false;
    } else {
      if (depth > 0) {
        if (depth > 1 && !isFirst && !text.endsWith(":")) text += ",";
        if (name === "keyValue") text += `"${String(value)}":`;
        else if (name === "stringValue") text += `"${String(value)}"`;
        else if (name === "startArray") text += "[";
        else if (name === "startObject") text += "{";
        else text += String(value);
      }
      isFirst = name === "startArray" || name === "startObject";
      if (isFirst) depth++;
    }
    if (depth === 1 && text !== "") {
      yield text;
      text = "";
    }
  }
}

/** Bytes as Latin-1 characters, each backslash of a string twice. */
async function* withEscapesDoubled(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let pending = "";
  for await (const chunk of chunks) {
    const text = pending + chunk.toString("latin1");
    // An escape must not be cut: `\"` becomes `\\\"`, which the parser reads as `\"`.
    const end = /(^|[^\\])(\\\\)*\\$/.test(text) ? text.length - 1 : text.length;
    pending = text.slice(end);
    yield text
      .slice(0, end)
      .replace(/\\(.)/gs, (_, letter: string) =>
        letter === '"' || letter === "\\" ? `\\\\\\${letter}` : `\\\\${letter}`,
      );
  }
  if (pending !== "") yield pending;
}
