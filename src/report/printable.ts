/**
 * What a dump says is data: it must not move the cursor, ring, or turn the line around. Control characters, line ends
 * and marks of direction are shown as `\uXXXX`.
 */
export function printable(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The same for text of several lines: their ends stay. */
export function printableLines(text: string): string {
  return text.split("\n").map(printable).join("\n");
}
