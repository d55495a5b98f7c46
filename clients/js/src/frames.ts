/** Frames of the server as they come: unknown types and fields are ignored by whoever reads them. */
export type Frame = Record<string, any>;

/** What the text of a socket message means; `undefined` if it is no frame, which the contract says to ignore. */
export function frameOf(text: unknown): Frame | undefined {
  try {
    const frame = JSON.parse(text as string);
    return typeof frame?.type === "string" ? frame : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a `welcome` says that the server takes frames of a type. A server that does not say so is never sent one. */
export const takes = ({ features }: Frame, type: string): boolean =>
  Array.isArray(features) && features.includes(type);
